"""Attacks that only ask the model: by its scores, by its labels, by another model's images."""
