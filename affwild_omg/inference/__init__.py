"""Inference: from a video to values for every frame."""
