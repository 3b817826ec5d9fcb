import numpy as np

from affwild_omg.data import manifest, pipeline, windows
from affwild_omg.scoring.frames import Frames

LENGTH = 4


def test_windows_are_the_sequences_and_the_counted_ones(tf, monkeypatch):
    for frames in range(1, 3 * LENGTH + 2):
        sequences = Frames(
            keys=["v/u"],
            targets=(),
            values=[],
            mask=[np.ones(frames, bool)],
            labels=[],
            times=[],
            sequence_length=LENGTH,
        ).sequences(0)
        (clip,) = clips = [type("Clip", (), {"frames": frames})]
        monkeypatch.setattr(manifest, "clips", lambda *_, clips=clips: clips)
        assert pipeline.count_windows("", "test", LENGTH) == len(sequences)
        starts = windows.starts(clip.frames, LENGTH)
        assert list(starts) == [part.start for part in sequences]


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
