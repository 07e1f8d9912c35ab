"""What all attacks share: the state of a search, its budget, its starts, when it stops."""
