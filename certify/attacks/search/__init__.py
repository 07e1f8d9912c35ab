"""State of a search, its budget, its starts, early stopping, bisection: shared by all attacks."""
