"""Where the runs of a table's rows lie, and which of them are finished.

`experiments.reproduction` puts them there. A run without a stages file was put
there by hand, and is taken as it is.
"""

import json
import pathlib
import re
from collections.abc import Sequence

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


def find_seeds(runs: pathlib.Path, row: Row) -> list[int]:
    """Returns the seeds of which a row has finished results of test."""
    found = []
    for path in _results(runs, row):
        name = path.parents[1].name
        if re.fullmatch(SEED.format(r"(0|[1-9]\d*)"), name):
            seed = int(name.rpartition("_")[2])
            if _is_finished(runs, row, seed):
                found.append(seed)
    return sorted(found)


def _results(runs, row):
    return (runs / row.folder).glob(f"seed_*/{TEST}/{results.METRICS}")


def _is_finished(runs, row, seed):
    """Returns whether results of test belong to what lies beside them.

    They do not while the network, or what a fusion fuses, is made anew.
    """
    path = place(runs, row.folder, seed) / FILE
    current = not path.is_file() or Stages(path, root=runs).is_current(TEST)
    members = map(tables.find_run, row.members)
    return current and all(_is_finished(runs, x, seed) for x in members)


def write_state(folder: pathlib.Path, state: str) -> None:
    """Says in a row's folder why there is nothing, or not all."""
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / STATUS, {"state": state})


def read_state(runs: pathlib.Path, rows: Sequence[Row]) -> str:
    """Returns what `write_state` said last of some rows, or what is so."""
    paths = [runs / row.folder / STATUS for row in rows]
    paths = [path for path in paths if path.is_file()]
    state = NOT_RUN
    if paths:
        newest = max(paths, key=lambda path: path.stat().st_mtime)
        state = json.loads(newest.read_text(encoding="utf-8"))["state"]
    begun = any(any(_results(runs, row)) for row in rows)
    return UNFINISHED if begun and not state.startswith(FAILED) else state
