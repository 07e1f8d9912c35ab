"""An ONNX file becomes a runtime and a torch twin."""
