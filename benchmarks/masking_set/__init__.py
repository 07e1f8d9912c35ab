"""Models with and without hidden gradients, on which the masking check is validated."""
