"""Scores, in float64: they owe nothing to the networks."""
