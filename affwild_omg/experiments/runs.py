"""Where the runs of a table's rows lie, and which of them are finished.

`experiments.reproduction` puts them there. A run without a stages file was put
there by hand, and is taken as it is.
"""

import json
import pathlib
import re

from affwild_omg.evaluation import results
from affwild_omg.published import tables
from affwild_omg.published.tables import Row
from affwild_omg.storage import files
from affwild_omg.storage.stages import FILE, Stages

SEED = "seed_{}"
VALIDATION = "validation"
TEST = "test"
PRETRAINED = "pretrained"
WORKDIR = "workdir"
STATUS = "status.json"
NOT_RUN = "not run"
FAILED = "failed"
UNFINISHED = "unfinished: give affwild_omg.reproduce again"


def place(runs: pathlib.Path, folder: str, seed: int) -> pathlib.Path:
    """Returns the folder of a row's run with a seed."""
    return runs / folder / SEED.format(seed)


def find_seeds(folder: pathlib.Path) -> list[int]:
    """Returns the seeds of a row's folder that have results of test."""
    seeds = []
    for path in folder.glob(SEED.format("*")):
        match = re.fullmatch(SEED.format(r"(0|[1-9]\d*)"), path.name)
        if match and (path / TEST / results.METRICS).is_file():
            seeds.append(int(match[1]))
    return sorted(seeds)


def is_finished(runs: pathlib.Path, row: Row, seed: int) -> bool:
    """Returns whether a run's results of test belong to what lies beside them.

    They do not while the network, or what a fusion fuses, is made anew.
    """
    path = place(runs, row.folder, seed) / FILE
    return (
        not path.is_file() or Stages(path, root=runs).is_current(TEST)
    ) and all(
        is_finished(runs, tables.find_run(run), seed) for run in row.members
    )


def write_state(folder: pathlib.Path, state: str) -> None:
    """Says in a row's folder why there is nothing, or not all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / STATUS, json.dumps({"state": state}) + "\n")


def read_state(*folders: pathlib.Path) -> str:
    """Returns what `write_state` wrote last, `NOT_RUN` if it did not."""
    paths = [x / STATUS for x in folders if (x / STATUS).is_file()]
    if not paths:
        return NOT_RUN
    newest = max(paths, key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text(encoding="utf-8"))["state"]
