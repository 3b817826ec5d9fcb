"""Shared fixtures: one TensorFlow, one set of small records."""

import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Tests compare runs to the last digit, which a GPU does not promise.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import pytest

from affwild_omg.serving.options import ExportOptions
from affwild_omg.training.options import TrainingOptions

ROOT = pathlib.Path(__file__).resolve().parents[1]
FRAMES = {  # utterances of the small records: frames of each
    "train": {"ann": [7, 4], "bob": [9]},
    "validation": {"cat": [5], "dan": [6]},
    "test": {"eve": [8, 3]},
}


@pytest.fixture(scope="session")
def tf():
    """TensorFlow with two logical CPUs, for tests of distribution."""
    import tensorflow

    cpu = tensorflow.config.list_physical_devices("CPU")[0]
    tensorflow.config.set_logical_device_configuration(
        cpu, [tensorflow.config.LogicalDeviceConfiguration()] * 2
    )
    return tensorflow


def clip_seed(video: str, index: int) -> int:
    """Returns the seed of a video's clip: no other clip has its label."""
    return 100 * ord(video[0]) + index


def make_clip(video, utterance, frames, seed, **changes):
    """Makes a clip of noise whose label shows in its brightness."""
    from affwild_omg.data import records

    random = np.random.default_rng(seed)
    valence = float(random.uniform(-0.9, 0.9))
    arousal = float(random.uniform(0.1, 0.9))
    images = random.integers(0, 60, (frames, 96, 96, 3), np.uint8)
    images[:, :48] += np.uint8(90 + 80 * valence)
    images[:, 48:] += np.uint8(150 * arousal)
    face = np.ones(frames, bool)
    face[frames // 2] = frames < 5  # one frame without a face in long clips
    fields = {
        "video": video,
        "utterance": utterance,
        "fps": 25.0,
        "images": images,
        "landmarks": random.uniform(0, 96, (frames, 68, 2)).astype(np.float32),
        "face": face,
        "valence": [valence],
        "arousal": [arousal],
    }
    return records.PreparedClip(**(fields | changes))


def write_records_folder(root: pathlib.Path, **changes):
    """Writes the small records, with the same changes to every clip."""
    from affwild_omg.data import records

    splits = {}
    for split, videos in FRAMES.items():
        (root / split).mkdir(parents=True)
        clips = [
            make_clip(
                video,
                f"utterance_{2 * index + 1}.mp4",
                length,
                seed=clip_seed(video, index),
                **changes,
            )
            for video, lengths in videos.items()
            for index, length in enumerate(lengths)
        ]
        for video in videos:
            records.write_records(
                root / split / f"{video}.tfrecord",
                [clip for clip in clips if clip.video == video],
            )
        splits[split] = {
            "expected": len(clips) + 1,
            "found": len(clips),
            "prepared": len(clips),
            "frames": sum(len(clip.images) for clip in clips),
            "frames_without_face": sum(
                int((~clip.face).sum()) for clip in clips
            ),
            "damaged": [],
            "failed": [],
            "utterances": [
                {
                    "video": clip.video,
                    "utterance": clip.utterance,
                    "frames": len(clip.images),
                    "frames_without_face": int((~clip.face).sum()),
                    "labelled": len(clip.valence) > 0,
                }
                for clip in clips
            ],
        }
    manifest = {"schema_version": records.SCHEMA_VERSION, "splits": splits}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


@pytest.fixture(scope="session")
def small_records(tf, tmp_path_factory):
    """A records folder of three splits; to be read only."""
    return write_records_folder(tmp_path_factory.mktemp("small") / "records")


@pytest.fixture(scope="session")
def small_run(small_records, tmp_path_factory):
    """The options and the summary of a short run on the small records."""
    from affwild_omg.training import loop as training

    options = TrainingOptions(
        records=str(small_records),
        workdir=str(tmp_path_factory.mktemp("small") / "run"),
        width=0.03,
        units=4,
        sequence_length=4,
        batch_size=2,
        learning_rate=1e-3,
        epochs=3,
    )
    return options, training.train(options)


@pytest.fixture(scope="session")
def small_saved_model(small_run, tmp_path_factory):
    """The SavedModel of the short run; to be read only."""
    from affwild_omg.serving import saved_model as exporting

    return exporting.export(
        ExportOptions(
            model=small_run[0].workdir,
            output=str(tmp_path_factory.mktemp("small") / "saved"),
        )
    )


@pytest.fixture(scope="session")
def clip():
    """Gives the path of a real clip by its name, or skips the test."""
    default = ROOT.parent / "shared" / "data" / "faces"
    folder = pathlib.Path(os.environ.get("AFFWILD_OMG_FACES", default))

    def path_of(name):
        path = folder / name
        if not path.exists():
            pytest.skip(
                f"the real clip {name} is not here; AFFWILD_OMG_FACES names "
                "the folder that holds it"
            )
        return path

    return path_of
