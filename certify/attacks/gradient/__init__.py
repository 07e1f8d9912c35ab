"""Attacks that follow the gradient, one file each."""
