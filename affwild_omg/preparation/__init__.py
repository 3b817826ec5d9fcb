"""Preparation: from a corpus' clips to records of aligned faces."""
