"""The same graph in torch operations, and how well the two agree."""
