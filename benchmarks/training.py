"""Measures a step of training: beside PyTorch, and against its sizes.

    pip install 'affwild_omg[bench]'
    python benchmarks/training.py [--rounds=5] [--plot=costs.png]

A step is forward, CCC loss, backward and Adam, on a batch in memory; its
device is the first GPU, or the CPU. `twin.py` is the same network in PyTorch:
before anything is timed, it must give the same values with the same weights.
All variants take turns in each round; medians count. Beside them stand the
fastest convolution and matrix product that either library reaches here; what a
step computes is worked out from the architecture. With --plot, also what a
step costs by batch, window, taps and replicas (parts of one CPU).
"""

import dataclasses
import functools
import gc
import multiprocessing
import os
import pathlib
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent import futures

import keras
import numpy as np
import tensorflow as tf
import torch
import twin
from absl import app, flags
from matplotlib import ticker

from affwild_omg.figures import canvas
from affwild_omg.nets import losses, models, optimizers, parts
from affwild_omg.nets.architectures import VGG_BLOCKS, Architecture
from affwild_omg.paper.task import CROP_SIZE, LANDMARKS
from affwild_omg.published import networks
from affwild_omg.storage.parallel import cores
from affwild_omg.training.options import POLICIES
from affwild_omg.training.step import Step

_ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is measured.", 1)
_PRECISION = flags.DEFINE_list(
    "precision",
    ["float32", "bfloat16"],
    "Some of float32, tf32 (on a GPU) and bfloat16.",
)
_BATCH = flags.DEFINE_integer("batch_size", 4, "Windows of a step.", 2)
_FRAMES = flags.DEFINE_integer("sequence_length", 16, "Frames of a window.", 2)
_JIT = flags.DEFINE_bool(
    "jit_compile", False, "Measure the step that XLA compiles, too."
)
_PLOT = flags.DEFINE_string("plot", None, "PNG of the costs; None: no costs.")

NETWORK = networks.named("cnn_3rnn")
AFFWILD2 = 2_800_000  # frames
LEARNING_RATE = 1e-5
# Each is measured with the others as the flags say.
BATCHES, WINDOWS, REPLICAS = (2, 4, 8), (8, 16, 32), (1, 2)
TAPS = (
    ("fc",),
    ("pool5", "fc"),
    NETWORK.taps,
    ("conv3_1", "pool5", "fc"),
    ("conv2_1", "conv3_3", "fc"),
)


def draw_batch(windows: int, frames: int) -> dict[str, np.ndarray]:
    """Draws a batch as the pipeline gives it."""
    random = np.random.default_rng(0)
    shape = windows, frames
    return {
        "frames": random.integers(
            0, 256, (*shape, CROP_SIZE, CROP_SIZE, 3), np.uint8
        ),
        "landmarks": random.uniform(0, 96, (*shape, LANDMARKS, 2)).astype("f"),
        "mask": np.ones(shape, bool),
        "labels": random.uniform(-1, 1, (*shape, 2)).astype("f"),
        "number": np.zeros(windows, np.int64),
    }


class Training:
    """A network in training."""

    def __init__(self, architecture, precision, *, replicas=1, jit=False):
        """Builds it, on so many parts of the CPU if there are several."""
        self._strategy = tf.distribute.get_strategy()
        if replicas > 1:
            self._strategy = tf.distribute.MirroredStrategy(
                [f"cpu:{index}" for index in range(replicas)]
            )
        with self._strategy.scope():
            dtype = POLICIES.get(precision)  # none for tf32
            self.model = models.build(architecture, dtype=dtype)
            optimizer = optimizers.adam(self.model, LEARNING_RATE, {})
        self._step = Step(
            *(self.model, optimizer, self._strategy, "sequence"),
            jit_compile=jit,
        )
        self._step.seed_dropout(0)

    def steps(self, batch: Mapping[str, np.ndarray]) -> Callable:
        """Returns what trains by this batch and returns the loss."""
        replicas = self._strategy.num_replicas_in_sync

        def part(context):
            own = context.replica_id_in_sync_group
            return {
                name: tf.constant(np.split(x, replicas)[own])
                for name, x in batch.items()
            }

        share = self._strategy.experimental_distribute_values_from_function
        shared = share(part)
        return lambda: self._step(shared)[0]


def check(model: keras.Model, batch, others: np.ndarray, loss: float) -> None:
    """Raises ValueError unless the twin's values and loss are the network's."""
    values = model.predict_on_batch(
        {x.name: batch[x.name] for x in model.inputs}
    )
    own = losses.concordance_loss(batch["labels"], values, batch["mask"])
    apart = max(np.abs(values - others).max(), abs(float(own) - loss))
    print(f"values and loss of both libraries differ by {apart:.1e} at most")
    if not apart < 1e-4:
        raise ValueError("twin.py is no twin of the network")


def compute(architecture: Architecture, frames: int) -> float:
    """Returns the floating-point operations of a step on so many frames.

    Those of products, two for each pair of factors: forward, and as many
    backward for the weights and for the inputs, but for the first
    convolution's.
    """
    sizes, products, first = {}, 0, 0
    channels, size = 3, CROP_SIZE
    for block, widths in enumerate(VGG_BLOCKS, start=1):
        for index, width in enumerate(widths, start=1):
            products += 9 * size * size * channels * width
            first = first or products
            channels = width
            sizes[f"conv{block}_{index}"] = size * size * width
        size //= 2
        sizes[f"pool{block}"] = size * size * channels
    fc = sizes["fc"] = architecture.fc_units
    products += (sizes["pool5"] + 2 * LANDMARKS) * fc
    units = architecture.units
    taps = architecture.taps if architecture.recurrence == "per_tap" else ()
    for tap in taps:
        for layer in range(architecture.depth):
            inputs = units if layer else sizes[tap]
            products += 3 * units * (inputs + units)
    return 2 * frames * (3 * products - first)


def convolutions() -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Returns shapes of VGG-Face's widest convolutions, of a step's frames."""
    found = {}
    for block in (2, 3, 4):
        side, width = CROP_SIZE >> (block - 1), VGG_BLOCKS[block - 1][-1]
        found[f"convolution {side}x{side}x{width}"] = (
            (_BATCH.value * _FRAMES.value, side, side, width),
            (3, 3, width, width),
        )
    return found


def peaks(precision: str, pool) -> dict[str, Callable[[], float]]:
    """Returns what measures FLOP/s of products, forward, by name."""
    dtype, size = getattr(tf, precision, tf.float32), 4096
    found = {}
    for name, (images, kernel) in convolutions().items():
        work = 2 * 9 * np.prod(images) * kernel[-1]
        function = functools.partial(
            tf.function(tf.nn.conv2d),
            *(tf.ones(images, dtype), tf.ones(kernel, dtype), 1, "SAME"),
        )
        found[f"{name}, TensorFlow"] = clock(work, function)
        found[f"{name}, PyTorch"] = clock_other(work, pool, name)
    matrix = tf.ones([size, size], dtype)
    found["matrix product, TensorFlow"] = clock(
        2 * size**3, functools.partial(tf.matmul, matrix, matrix)
    )
    return found


def clock(work: float, function: Callable) -> Callable[[], float]:
    """Returns what measures how much of its work a function does a second."""

    def run():
        begin = time.perf_counter()
        result = function()
        # Waits for the device.
        float(result[(0,) * result.ndim])
        return work / (time.perf_counter() - begin)

    return run


def clock_other(work: float, pool, name: str) -> Callable[[], float]:
    """Returns the same of what PyTorch has ready in its process."""
    return lambda: work / pool.submit(twin.seconds, name).result()


def measure(variants: Mapping[str, Callable]) -> dict[str, list[float]]:
    """Measures each variant once a round, after a start-up."""
    for run in variants.values():
        for _ in range(2):
            run()
    found = {name: [] for name in variants}
    for _ in range(_ROUNDS.value):
        for name, run in variants.items():
            found[name].append(run())
    return found


def ratio(found, name, other) -> float:
    """Returns the median over the rounds of one variant to another."""
    pairs = zip(found[name], found[other], strict=True)
    return statistics.median(x / y for x, y in pairs)


def compare(precision: str, batch, pool: futures.Executor) -> None:
    """Prints this project's steps beside PyTorch's, and their shares."""
    # Unless asked, float32 of both libraries is float32, as train.py's is.
    tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
    like = dataclasses.replace(NETWORK, gru="cudnn")
    bare = dataclasses.replace(NETWORK, recurrence="none")
    frames = batch["mask"].size
    training = Training(like, precision)
    weights = parts.named_weights(training.model).items()
    result = pool.submit(
        twin.set_up,
        *(like, {name: x.numpy() for name, x in weights}, batch),
        *(precision, LEARNING_RATE, convolutions()),
    ).result()
    if precision == "float32":
        check(training.model, batch, *result)
    steps = {
        "this project, gru=cudnn": training,
        "this project": Training(NETWORK, precision),
        "this project, no GRUs": Training(bare, precision),
    }
    if _JIT.value:
        steps["this project, XLA"] = Training(NETWORK, precision, jit=True)
    variants = {"PyTorch": clock_other(frames, pool, "step")} | {
        name: clock(frames, step.steps(batch)) for name, step in steps.items()
    }
    products = peaks(precision, pool)
    found = measure(variants | products)
    rates = {name: statistics.median(x) for name, x in found.items()}
    peak = max(rates[name] for name in products)
    print(f"\n{precision:24}  frames/s  to PyTorch  of peak  Aff-Wild2's epoch")
    for name in variants:
        rate, faster = rates[name], ratio(found, name, "PyTorch")
        work = compute(bare if "no GRUs" in name else NETWORK, 1)
        print(
            f"{name:24} {rate:9.1f} {faster:11.2f} {rate * work / peak:8.0%} "
            f"{AFFWILD2 / rate / 3600:15.1f} h"
        )
    share = 1 - 1 / ratio(found, "this project, no GRUs", "this project")
    print(f"GRU stacks take {share:.1%} of a step")
    for name in products:
        print(f"{rates[name] / 1e9:9,.0f} GFLOP/s, {name}", flush=True)


def costs() -> dict[str, dict[str, float]]:
    """Measures seconds a step by batch, window, taps and replicas."""
    batch, window = _BATCH.value, _FRAMES.value
    usual = draw_batch(batch, window)

    def training(taps=NETWORK.taps, replicas=1):
        architecture = dataclasses.replace(NETWORK, taps=taps)
        precision = _PRECISION.value[0]
        return Training(architecture, precision, replicas=replicas)

    def batches():
        plain = training()
        return {x: plain.steps(draw_batch(x, window)) for x in BATCHES}

    def windows():
        plain = training()
        return {x: plain.steps(draw_batch(batch, x)) for x in WINDOWS}

    def taps():
        return {", ".join(x): training(taps=x).steps(usual) for x in TAPS}

    def replicas():
        return {x: training(replicas=x).steps(usual) for x in REPLICAS}

    kinds = {
        "windows in a batch": batches,
        "frames in a window": windows,
        "taps": taps,
    }
    if not tf.config.list_physical_devices("GPU"):
        kinds["replicas on the CPU"] = replicas
    table = {}
    for kind, steps in kinds.items():
        gc.collect()  # what was measured before, in a ring of references
        variants = {str(x): clock(1, step) for x, step in steps().items()}
        found = measure(variants)
        table[kind] = {
            x: 1 / statistics.median(rates) for x, rates in found.items()
        }
        del variants
    return table


def plot(table: Mapping[str, Mapping[str, float]], path: pathlib.Path) -> None:
    """Draws seconds a step, a panel for each size."""
    figure = canvas.new(5.2, width=8)
    for axis, (kind, values) in zip(
        figure.subplots(2, 2).flat, table.items(), strict=False
    ):
        rows = range(len(values))
        axis.barh(rows, list(values.values()), color="tab:blue")
        axis.set_yticks(rows, list(values))
        axis.invert_yaxis()
        axis.set_title(kind, fontsize="medium", loc="left")
        axis.set_xlabel("seconds a step")
        axis.xaxis.set_major_locator(ticker.MaxNLocator(5))
        for row, seconds in enumerate(values.values()):
            axis.annotate(
                f"{seconds:.2f}",
                (seconds, row),
                (3, 0),
                textcoords="offset points",
                va="center",
            )
        axis.set_xlim(0, 1.2 * max(values.values()))
        axis.tick_params(axis="y", length=0)
        canvas.open_frame(axis)
    canvas.save(figure, path, dpi=110)


def main(_) -> None:
    """Prints the tables, and draws the costs if asked."""
    tf.get_logger().setLevel("ERROR")  # of a new trace for each shape
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:  # which PyTorch shares
        tf.config.experimental.set_memory_growth(gpu, True)
    if not gpus:
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * max(REPLICAS),
        )
    print(
        f"{len(gpus)} GPUs, {cores()} cores, load {os.getloadavg()[0]:.1f}, "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"PyTorch {torch.__version__} on {twin.DEVICE}, "
        f"{_BATCH.value} x {_FRAMES.value} frames"
    )
    batch = draw_batch(_BATCH.value, _FRAMES.value)
    for precision in _PRECISION.value:
        # Each with its memory to itself.
        with futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn")
        ) as pool:
            compare(precision, batch, pool)
    if _PLOT.value:
        table = costs()
        for kind, values in table.items():
            print(f"\n{kind}: seconds a step")
            for value, seconds in values.items():
                print(f"{value:24} {seconds:9.2f}")
        plot(table, pathlib.Path(_PLOT.value))


if __name__ == "__main__":
    app.run(main)
