import pytest


@pytest.fixture(scope="module")
def saved(tf, small_saved_model):
    """The SavedModel of the short run, loaded by TensorFlow alone."""
    return tf.saved_model.load(str(small_saved_model))
