"""Networks and their losses, in `keras` and `keras.ops` only."""
