"""The ONNX graph as a file states it: reading, layout, edits."""
