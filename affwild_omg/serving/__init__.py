"""Models as others run them."""
