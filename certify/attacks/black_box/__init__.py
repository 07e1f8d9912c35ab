"""Attacks without gradients of the model: by its scores, its labels, or another model's images."""
