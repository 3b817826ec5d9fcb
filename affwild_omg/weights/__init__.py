"""Weights on disk: model files, transfer, and readers of foreign files."""
