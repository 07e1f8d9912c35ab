"""Training: data, networks, methods, recipes, the training loop and the export as ONNX."""
