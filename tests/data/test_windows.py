import json

import numpy as np

from affwild_omg.scoring.frames import Frames

LENGTH = 4


def test_windows_are_the_sequences_and_the_counted_ones(tf, tmp_path):
    from affwild_omg.data import pipeline, records, windows

    for frames in range(1, 3 * LENGTH + 2):
        split = {"prepared": 1, "utterances": [{"frames": frames}]}
        manifest = {
            "schema_version": records.SCHEMA_VERSION,
            "splits": {"test": split},
        }
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        sequences = Frames(
            keys=["v/u"],
            targets=(),
            values=[],
            mask=[np.ones(frames, bool)],
            labels=[],
            fps=[25],
            sequence_length=LENGTH,
        ).sequences(0)
        assert pipeline.count_windows(tmp_path, "test", LENGTH) == len(
            sequences
        )
        places = np.arange(frames)
        clip = {"x": np.stack([places + 1, places + 2], 1), "name": places + 7}
        clip["name"] = clip["name"].astype(str)
        # Batches of unknown length, as those of a parsed record.
        dataset = tf.data.Dataset.from_tensor_slices(clip).batch(frames)
        (mapped,) = dataset.map(lambda x: windows.cut(x, LENGTH))
        for found in (windows.cut(clip, LENGTH), mapped):
            assert {len(x) for x in found.values()} == {len(sequences)}
            for i, part in enumerate(sequences):
                own = clip["x"][part]
                padding = LENGTH - len(own)
                assert found["start"][i] == part.start
                assert found["length"][i] == len(own)
                np.testing.assert_array_equal(
                    found["x"][i], np.pad(own, ((0, padding), (0, 0)))
                )
                names = [*clip["name"][part], *[""] * padding]
                assert found["name"][i].numpy().astype(str).tolist() == names
