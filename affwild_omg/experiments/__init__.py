"""Experiments: the paper's tables, run and laid out."""
