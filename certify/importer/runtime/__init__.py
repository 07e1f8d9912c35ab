"""ONNX Runtime: the trial of a hostile file, sessions, batches, precision."""
