"""Data: prepared clips on disk, and tf.data pipelines over them."""
