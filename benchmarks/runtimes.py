"""Measures the runtimes and precisions that a model was exported for.

    python benchmarks/runtimes.py EXPORTED [RECORDS] [--rounds=3]

Prints the CPU and its load, then of each combination frames a second in a
window of 80 frames, all of which take turns in each round, and the best counts,
because other programs only ever make it slower; by how much its values differ
from those of the first one; and, with records, CCC on their test split.
"""

import os
import tempfile
import time

import numpy as np
from absl import app, flags, logging

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import evaluator
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.inference.precision import CPU, RUNTIMES
from affwild_omg.inference.predictor import load_predictor
from affwild_omg.storage.parallel import cores

_ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is measured.", 1)

WINDOW = 80  # frames


def ready(model: str) -> dict:
    """Returns the predictors that can be had, by runtime and precision."""
    found = {}
    for runtime, precisions in RUNTIMES.items():
        for precision in precisions:
            try:
                found[runtime, precision] = load_predictor(
                    model, runtime=runtime, precision=precision
                )
            except UserError as error:
                print(f"left out: {error}")
    return found


def evaluate(model: str, records: str, runtime: str, precision: str):
    """Returns the evaluation of a combination."""
    with tempfile.TemporaryDirectory() as folder:
        return evaluator.evaluate(
            EvaluationOptions(
                model=model,
                records=records,
                output=os.path.join(folder, "results"),
                runtime=runtime,
                precision=precision,
            )
        )


def main(arguments: list[str]) -> None:
    """Prints a line for each combination."""
    logging.set_verbosity(logging.ERROR)
    _, model, *records = arguments
    names = [x for x in CPU.read_text().splitlines() if "model name" in x]
    print(
        f"{names[0].split(':')[1].strip() if names else 'CPU'}, {cores()} cores"
    )
    predictors = ready(model)
    random = np.random.default_rng(0)
    window = {
        "frames": random.integers(0, 256, (1, WINDOW, 96, 96, 3), np.uint8),
        "landmarks": random.uniform(0, 96, (1, WINDOW, 68, 2)).astype("f"),
        "mask": np.ones((1, WINDOW), bool),
    }
    values, seconds = {}, {name: [] for name in predictors}
    for name, predictor in predictors.items():
        values[name] = [predictor.predict(window)]  # and the start-up
    for _ in range(_ROUNDS.value):
        for name, predictor in predictors.items():
            begin = time.perf_counter()
            predictor.predict(window)
            seconds[name].append(time.perf_counter() - begin)
    print(f"load {os.getloadavg()[0]:.1f} at the end of the timing")
    first = next(iter(predictors))
    for name in predictors:
        text = ""
        if records:
            found = evaluate(model, *records, *name)
            values[name] = found.frames.values
            text = ", ".join(
                f"CCC of {target} {ccc:.4f}"
                for target, ccc in found.headline.cccs.items()
            )
        apart = max(
            float(np.abs(x - y).max())
            for x, y in zip(values[name], values[first], strict=True)
        )
        print(
            f"{' '.join(name):22} {WINDOW / min(seconds[name]):7.1f} frames/s, "
            f"differs by {apart:.1e} {text}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
