"""Measures prediction: step by step, in threads and chunks, and in bfloat16.

    python benchmarks/inference.py VIDEO [--model=MODEL] [--rounds=3]

Prints the CPU and its load, then frames a second in the steady state: of the
network alone in windows, and of whole streams, decoding included, beside what
all cores could do at the CPU time that a frame takes. Then the latencies of a
stream that waits for the detector and of one that does not, whose frames come
at the pace of the video. All variants take turns in each round, and the best
counts, because other programs only ever make it slower.
"""

import contextlib
import itertools
import os
import pathlib
import tempfile
import time

import numpy as np
from absl import app, flags

from affwild_omg.faces.detection import Detector
from affwild_omg.faces.landmarks import Landmarker
from affwild_omg.faces.video import Video
from affwild_omg.inference.precision import CPU, choose
from affwild_omg.inference.predictor import Predictor, load_predictor
from affwild_omg.nets import models
from affwild_omg.published import networks
from affwild_omg.storage.parallel import cores
from affwild_omg.weights import model_file

_MODEL = flags.DEFINE_string(
    "model", None, "SavedModel, workdir or .keras file; None: random weights."
)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is measured.", 1)

WINDOW = 80  # frames
START = 24  # frames that are left out at the start of a stream


def load(precision: str) -> Predictor:
    """Loads the model; the paper's best one, untrained, if none is given."""
    if _MODEL.value:
        return load_predictor(_MODEL.value, precision=precision)
    card = model_file.Card(
        architecture=networks.named("cnn_3rnn"), sequence_length=WINDOW
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "model.keras")
        model_file.save_model(models.build(card.architecture), card, path)
        return load_predictor(path, precision=precision)


def measure_window(predictor: Predictor) -> tuple[float, float]:
    """Returns frames a second of a window, and CPU seconds a frame."""
    random = np.random.default_rng(0)
    window = {
        "frames": random.integers(0, 256, (1, WINDOW, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (1, WINDOW, 68, 2)).astype("f"),
        "mask": np.ones((1, WINDOW), bool),
    }
    begin, cpu = time.perf_counter(), time.process_time()
    predictor.predict(window)
    return (
        WINDOW / (time.perf_counter() - begin),
        (time.process_time() - cpu) / WINDOW,
    )


def measure_stream(predictor, path, parts, threaded) -> tuple[float, float]:
    """Returns frames a second of a stream, and CPU seconds a frame."""
    with (
        Video(path) as video,
        predictor.stream(fps=video.fps, wait=True, **parts) as stream,
    ):
        results = (
            stream.video((video.number, *timed) for timed in video)
            if threaded
            else ((time_s, stream.step(frame)) for time_s, frame in video)
        )
        with contextlib.closing(results):
            for _ in itertools.islice(results, START):
                pass
            begin, cpu = time.perf_counter(), time.process_time()
            count = sum(1 for _ in results)
            return (
                count / (time.perf_counter() - begin),
                (time.process_time() - cpu) / count,
            )


def measure_latency(predictor, path, parts, wait) -> dict:
    """Returns the latencies of a stream at the pace of a video."""
    with (
        Video(path) as video,
        predictor.stream(fps=video.fps, wait=wait, **parts) as stream,
    ):
        begin = time.perf_counter()
        for time_s, frame in video:
            time.sleep(max(0.0, begin + time_s - time.perf_counter()))
            stream.step(frame)
        return stream.latency()


def main(arguments: list[str]) -> None:
    """Prints a line for each variant."""
    _, path = arguments
    names = [x for x in CPU.read_text().splitlines() if "model name" in x]
    lower = choose("auto")
    print(
        f"{names[0].split(':')[1].strip() if names else 'CPU'}, {cores()} "
        f"cores, load {os.getloadavg()[0]:.1f}, auto is {lower}"
    )
    predictors = {x: load(x) for x in dict.fromkeys(["float32", lower])}
    parts = {"detector": Detector(), "landmarker": Landmarker()}
    variants = {}
    for name, predictor in predictors.items():
        measure_window(predictor)  # start-up
        variants[f"network in windows, {name}"] = lambda p=predictor: (
            measure_window(p)
        )
        for threaded in (False, True):
            how = "threads" if threaded else "serial"
            variants[f"stream, {name}, {how}"] = (
                lambda p=predictor, t=threaded: measure_stream(
                    p, path, parts, t
                )
            )
    found = {name: [] for name in variants}
    for _ in range(_ROUNDS.value):
        for name, run in variants.items():
            found[name].append(run())
    for name, results in found.items():
        speed, cpu = max(results)
        print(
            f"{speed:7.1f} frames/s, {cores() / cpu:7.1f} at most by CPU time: "
            f"{name}",
            flush=True,
        )
    for wait in (True, False):
        latency = measure_latency(predictors[lower], path, parts, wait)
        print(f"detector {'waited for' if wait else 'beside'}: {latency}")


if __name__ == "__main__":
    app.run(main)
