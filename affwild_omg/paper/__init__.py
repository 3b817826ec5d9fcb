"""The paper: what its task is made of."""
