"""`robcert train METHOD`, one command for each method."""
