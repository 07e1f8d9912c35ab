"""Training methods, architectures and exports."""
