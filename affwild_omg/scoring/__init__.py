"""Scores, in numpy and float64 only: they owe nothing to the networks."""
