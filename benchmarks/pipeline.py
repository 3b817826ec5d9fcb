"""Measures the input pipeline against bare decoding of the same images.

    python benchmarks/pipeline.py --records=records --split=train

Bare decoding takes the images out of memory and decodes them on all cores;
the pipeline reads, checks, parses, shuffles, cuts, pads and batches besides,
and augments: by nothing, by each kind and by all. They take turns in each
round; medians count. The CPU time of a frame, times the frames a second that a
GPU trains on, is the number of cores that feed it. With
`--data_service=grpc://host:port` the workers of that dispatcher do all but the
batching, and the CPU time is what is left to this process.
"""

import functools
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from affwild_omg.data import (
    augmentation,
    manifest,
    pipeline,
    records,
    service,
)
from affwild_omg.paper.windows import AUGMENTATIONS

RECORDS = flags.DEFINE_string("records", None, "Folder of prepared records.")
SPLIT = flags.DEFINE_string("split", "train", "Split of the records.")
LENGTHS = flags.DEFINE_multi_integer(
    "sequence_length", [20, 80], "Frames of a window."
)
ROUNDS = flags.DEFINE_integer("rounds", 5, "Rounds; the median counts.")
MAX_FRAMES = flags.DEFINE_integer(
    "max_frames", 20_000, "Frames that bare decoding holds in memory."
)
SERVICE = flags.DEFINE_string(
    "data_service", None, "Dispatcher whose workers make the windows."
)
flags.mark_flag_as_required("records")


def measure(dataset: tf.data.Dataset, frames: int) -> tuple[float, float]:
    """Runs through a dataset once.

    Returns:
        Frames a second, and CPU seconds a frame.
    """
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in dataset:
        pass
    return (
        frames / (time.perf_counter() - begin),
        (time.process_time() - cpu) / frames,
    )


def images_of(clips) -> list[bytes]:
    """Reads the encoded images of clips, no more than may be held."""
    images = []
    for clip in clips:
        if len(images) < MAX_FRAMES.value:
            parsed = records.parse(clip.read(0, clip.frames))
            images += parsed["image"].numpy()[: clip.frames].tolist()
    return images[: MAX_FRAMES.value]


def main(_) -> None:
    """Measures all, round by round, and prints a table."""
    given = manifest.read(RECORDS.value)
    clips = given.clips(SPLIT.value)
    images = images_of(clips)
    size = sum(map(len, images)) / len(images)
    print(f"crops as {given.treatment.crop_format}, {size:,.0f} bytes each")
    options = tf.data.Options()
    options.autotune.enabled = False
    bare = (
        tf.data.Dataset.from_tensor_slices(images)
        .map(records.decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(80)
        .with_options(options)
    )
    every = sum(clip.frames for clip in clips)
    kinds = [(), *((kind,) for kind in AUGMENTATIONS), AUGMENTATIONS]
    print("  T  frames/s  to bare  CPU ms/frame")
    for length in LENGTHS.value:
        count = pipeline.count(clips, length, "overlap")
        order = np.random.default_rng(0).permutation(count)

        def windows(some, numbers, elsewhere=False, length=length, order=order):
            made = pipeline.windows(
                clips,
                sequence_length=length,
                tail="overlap",
                order=order[numbers],
                numbers=numbers,
                elsewhere=elsewhere,
            )
            return augmentation.augment(made, some, 0) if some else made

        datasets = {"bare decoding": (bare, len(images))}
        for some in kinds:
            own = functools.partial(windows, some)
            if SERVICE.value:
                dataset = service.collected(
                    own(range(count), elsewhere=True),
                    SERVICE.value,
                    range(count),
                    own,
                )
            else:
                dataset = own(range(count))
            name = "pipeline, " + (", ".join(some) or "no augmentation")
            datasets[name] = pipeline.batches(dataset, 4), every
        found = {name: [] for name in datasets}
        for _ in range(ROUNDS.value):
            for name, given in datasets.items():
                found[name].append(measure(*given))
        bares = found["bare decoding"]
        for name, results in found.items():
            rate, cpu = np.median(results, axis=0)
            ratio = np.median(np.divide(results, bares)[:, 0])
            figures = f"{rate:9,.0f} {ratio:8.2f} {1000 * cpu:13.3f}"
            print(f"{length:3} {figures}  {name}", flush=True)


if __name__ == "__main__":
    app.run(main)
