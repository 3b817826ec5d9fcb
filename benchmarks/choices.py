"""Measures what choices of training do to the demo, over three seeds.

    make demo
    python benchmarks/choices.py [--only=bfloat16 --only=ema] [--output=choices]

Each choice is the demo's training but for the flags in CHOICES; three minutes
each on two cores, and three seeds. What is done is not done again. The table
has the best CCC on validation, mean of both targets, and that model's on test.
"""

import json
import pathlib
import statistics
import subprocess
import sys

from absl import app, flags

from affwild_omg import demo
from affwild_omg.cli.options import to_flag
from affwild_omg.cli.tables import Table
from affwild_omg.storage import files

CHOICES = {
    "demo": {},
    "bfloat16": {"precision": "bfloat16"},
    "jit_compile": {"jit_compile": True},
    "frame": {"loss_level": "frame"},
    "weighted_sequence": {"loss_level": "weighted_sequence"},
    "mse": {"loss": "mse"},
    "ccc_mse": {"loss": "ccc_mse"},
    "arousal_2": {"target_weights": ["valence=1", "arousal=2"]},
    "batch_4": {"batch_size": 4},
    "ccc_16": {"ccc_sequences": 16},
    "ccc_64": {"ccc_sequences": 64},
    "warmup_50": {"warmup_steps": 50},
    "cosine": {"schedule": "cosine"},
    "cosine_warmup_50": {"schedule": "cosine", "warmup_steps": 50},
    "plateau": {"schedule": "plateau", "plateau_patience": 1},
    "clip_1": {"clip_norm": 1.0},
    "decay_0.01": {"weight_decay": 0.01},
    "ema": {"ema": 0.99},
    "stride_10": {"stride": 10, "epochs": 4},
    "augment_all": {"augment": ["mirror", "place", "light", "jpeg", "rate"]},
    "augment_mirror_light": {"augment": ["mirror", "light"]},
}

_RECORDS = flags.DEFINE_string(
    "records", "checkpoints/demo/records", "Records of the demo."
)
_OUTPUT = flags.DEFINE_string("output", "choices", "Folder for the trainings.")
_ONLY = flags.DEFINE_multi_enum(
    "only", list(CHOICES), list(CHOICES), "Some of the choices."
)


def run(module: str, **settings) -> None:
    """Runs a command of the package, quietly."""
    given = [to_flag(name, value) for name, value in settings.items()]
    command = [sys.executable, "-m", f"affwild_omg.{module}", "--overwrite"]
    done = subprocess.run([*command, *given], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(done.args)}: {done.stderr[-500:]}")


def measure(folder: pathlib.Path, seed: int, choice: dict) -> dict[str, float]:
    """Trains and evaluates a choice; returns its CCC of both splits."""
    result = folder / "ccc.json"
    if not result.is_file():
        settings = demo.TRAINING | choice | {"seed": seed}
        records = _RECORDS.value
        run("train", records=records, workdir=folder / "run", **settings)
        history = json.loads((folder / "run/history.json").read_text())
        test = folder / "test"
        run("evaluate", model=folder / "run", records=records, output=test)
        metrics = json.loads((test / "metrics.json").read_text())
        cccs = [metrics[name]["ccc"] for name in ("valence", "arousal")]
        files.write_json(
            result,
            {
                "validation": history["best_ccc"],
                "test": statistics.mean(cccs),
            },
        )
    return json.loads(result.read_text())


def main(_) -> None:
    """Prints the table."""
    rows = []
    for name in _ONLY.value:
        found = [
            measure(
                pathlib.Path(_OUTPUT.value, name, str(seed)),
                seed,
                CHOICES[name],
            )
            for seed in demo.SEEDS
        ]
        cells = [
            f"{statistics.mean(x):.3f} ± {statistics.stdev(x):.3f}"
            for x in ([y[key] for y in found] for key in found[0])
        ]
        rows.append([name, *cells])
        print(name, *cells, flush=True)
    for line in Table(["choice", "validation", "test"], rows).lines():
        print(line)


if __name__ == "__main__":
    app.run(main)
