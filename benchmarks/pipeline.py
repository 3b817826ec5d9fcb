"""Measures the input pipeline against bare decoding of the same images.

    python benchmarks/pipeline.py --records=records --split=train

Bare decoding takes the images out of memory and decodes them on all cores;
the pipeline reads, checks, parses, shuffles, cuts, pads and batches besides.
"""

import statistics
import time

import tensorflow as tf
from absl import app, flags

from affwild_omg.data import manifest, pipeline, records

RECORDS = flags.DEFINE_string("records", None, "Folder of prepared records.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the records.")
LENGTHS = flags.DEFINE_multi_integer(
    "sequence_length", [20, 80], "Frames of a window."
)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds; the median counts.")
MAX_FRAMES = flags.DEFINE_integer(
    "max_frames", 20_000, "Frames that bare decoding holds in memory."
)
flags.mark_flag_as_required("records")


def frames_per_second(dataset: tf.data.Dataset, frames: int) -> float:
    """Runs through a dataset once."""
    start = time.perf_counter()
    for _ in dataset:
        pass
    return frames / (time.perf_counter() - start)


def images_of(clips) -> list[bytes]:
    """Reads the encoded images of clips, no more than may be held."""
    images = []
    for clip in clips:
        if len(images) < MAX_FRAMES.value:
            parsed = records.parse(clip.read(0, clip.frames))
            images += parsed["image"].numpy()[: clip.frames].tolist()
    return images[: MAX_FRAMES.value]


def main(_) -> None:
    """Measures both, round by round, and prints a table."""
    clips = manifest.read(RECORDS.value).clips(SPLIT.value)
    images = images_of(clips)
    options = tf.data.Options()
    options.autotune.enabled = False
    bare = (
        tf.data.Dataset.from_tensor_slices(images)
        .map(tf.io.decode_png, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(80)
        .with_options(options)
    )
    every = sum(clip.frames for clip in clips)
    print("frames/s   T    bare  pipeline  ratio")
    for length in LENGTHS.value:
        windows = pipeline.windows(
            clips, sequence_length=length, tail="overlap", shuffle_seed=0
        )
        batches = pipeline.batches(windows, 4)
        speeds = [
            (
                frames_per_second(bare, len(images)),
                frames_per_second(batches, every),
            )
            for _ in range(ROUNDS.value)
        ]
        one, other = (statistics.median(x) for x in zip(*speeds, strict=True))
        ratio = statistics.median(y / x for x, y in speeds)
        print(f"        {length:4} {one:7,.0f} {other:9,.0f}  {ratio:.2f}")


if __name__ == "__main__":
    app.run(main)
