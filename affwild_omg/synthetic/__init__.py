"""The demo's corpus: faces that are drawn, so that the truth is known."""
