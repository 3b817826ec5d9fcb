"""Evaluation: protocols, results and what is made of them."""
