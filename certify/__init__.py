"""Analyses of image classifiers: certified, estimated and attacked numbers."""
