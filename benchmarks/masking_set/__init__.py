"""Models that hide their gradient and models that do not, for validating the masking check."""
