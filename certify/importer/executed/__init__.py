"""The graph that ONNX Runtime executes in place of the file's: whether both are one function."""
