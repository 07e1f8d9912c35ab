"""What each printed number of a results file claims, and attempts to refute it."""
