"""Each analysis on a model and a data set: rows into the results file, a summary out of it."""
