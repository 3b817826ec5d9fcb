import numpy as np

from affwild_omg.data import windows

LENGTH = 4


def test_windows_are_padded_eagerly_and_in_a_pipeline(tf):
    for length in range(1, LENGTH + 1):
        window = {
            "x": np.arange(2 * length).reshape(length, 2) + 1,
            "name": np.arange(length).astype(str),
        }
        # Of unknown length, as those of a parsed record.
        dataset = tf.data.Dataset.from_tensor_slices(window).batch(length)
        (mapped,) = dataset.map(lambda x: windows.pad(x, LENGTH))
        missing = LENGTH - length
        for found in (windows.pad(window, LENGTH), mapped):
            np.testing.assert_array_equal(
                found["x"], np.pad(window["x"], ((0, missing), (0, 0)))
            )
            names = found["name"].numpy().astype(str).tolist()
            assert names == [*window["name"], *[""] * missing]
