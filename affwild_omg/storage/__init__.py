"""Files on disk: written whole or not at all, and what is made of what."""
