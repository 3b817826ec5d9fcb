"""Where the runs of a table's rows lie, and which of them are whole.

`reproducing` puts them there. A run without a stages file was put there by
hand, and is taken as it is.
"""

import json
import pathlib
import re

from affwild_omg.evaluation import results
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


def is_whole(runs: pathlib.Path, row: Row, seed: int) -> bool:
    """Tells whether a run's results of test are of what stands beside them.

    They are not while the network, or what a fusion fuses, is made anew.
    """
    stages = place(runs, row.folder, seed) / FILE
    if not stages.is_file():
        return True
    known = Stages(stages)
    if not row.members:
        return known.is_made(TEST)
    try:
        return known.is_made(TEST, of=fingerprints(runs, row, seed))
    except KeyError:
        return False


def fingerprints(runs: pathlib.Path, row: Row, seed: int) -> list[str]:
    """Returns the makings of what a row fuses, see `storage.stages`.

    Raises:
        KeyError: something of it isn't made.
    """
    return [
        Stages(place(runs, run, seed) / FILE).made(split)
        for run in row.members
        for split in (VALIDATION, TEST)
    ]


def write_state(folder: pathlib.Path, state: str) -> None:
    """Says in a row's folder why there is nothing, or not all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / STATUS, json.dumps({"state": state}) + "\n")


def read_state(folder: pathlib.Path) -> str:
    """Returns what `write_state` wrote, `NOT_RUN` if it did not."""
    try:
        content = json.loads((folder / STATUS).read_text(encoding="utf-8"))
        return str(content["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return NOT_RUN
