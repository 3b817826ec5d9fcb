"""Faces: from the pixels of a video to aligned faces and landmarks."""
