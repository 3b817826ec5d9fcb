"""Runs: the rows of tables, trained or fused with a seed, and their results.

A run lies at `<folder of the runs>/<row's folder>/seed_<n>`, and its results
of test, all that a table needs, in `test` there. `experiments.reproduction`
puts them there; a run without a stages file was put there by hand, and is
taken as it is.
"""

import functools
import json
import os
import pathlib
import re

from affwild_omg.evaluation import results
from affwild_omg.evaluation.results import Results
from affwild_omg.published.tables import Row
from affwild_omg.storage import files
from affwild_omg.storage.stages import FILE, Stages

VALIDATION = "validation"
TEST = "test"
PRETRAINED = "pretrained"
WORKDIR = "workdir"
NOT_RUN = "not run"
FAILED = "failed"
# The share of train that validates a pre-training whose corpus has no split for
# it; train.py leaves that to be given.
HOLDOUT = 0.1
UNFINISHED = "unfinished: give affwild_omg.reproduce again"


def seed_of(place: pathlib.Path) -> int | None:
    """Returns the seed of a run's folder; None if it has another name."""
    name = re.fullmatch(r"seed_(0|[1-9]\d*)", place.name)
    return int(name[1]) if name else None


class Runs:
    """The runs below a folder."""

    def __init__(self, root: os.PathLike | str):
        self.root = pathlib.Path(root)
        self._read = functools.cache(
            functools.partial(results.read, flag="--runs")
        )

    def place(self, folder: str, seed: int) -> pathlib.Path:
        """Returns where the run of a row's folder with a seed lies."""
        return self.root / folder / f"seed_{seed}"

    def stages(self, folder: str, seed: int) -> Stages:
        """Returns what is done of a run."""
        return Stages(self.place(folder, seed) / FILE, root=self.root)

    def read(self, folder: str, seed: int) -> Results:
        """Returns the results of test of a run; of a path they are read once.

        Raises:
            UserError: they cannot be read.
        """
        return self._read(self.place(folder, seed) / TEST)

    def seeds(self, row: Row) -> list[int]:
        """Returns the seeds of which a row has finished results of test."""
        found = []
        for path in self._results(row):
            seed = seed_of(path.parents[1])
            if seed is not None and self.is_finished(row, seed):
                found.append(seed)
        return sorted(found)

    def _results(self, row):
        return self.root.glob(f"{row.folder}/*/{TEST}/{results.METRICS}")

    def is_finished(self, row: Row, seed: int) -> bool:
        """Returns whether results of test belong to what lies beside them.

        They do not while the network, or what a fusion fuses, is made anew.
        """
        if not (
            self.place(row.folder, seed) / TEST / results.METRICS
        ).is_file():
            return False
        stages = self.stages(row.folder, seed)
        current = stages.is_current(TEST) or not stages.path.is_file()
        return current and all(
            self.is_finished(*member) for member in self.members(row, seed)
        )

    def members(self, row: Row, seed: int) -> list[tuple[Row, int]]:
        """Returns the rows, with their seeds, that were fused or averaged.

        Raises:
            UserError: the results cannot be read.
        """
        if row.averages != "seeds":
            return [(member, seed) for member in row.fused]
        (member,) = row.fused
        options = self.read(row.folder, seed).provenance.options or {}
        places = [pathlib.Path(x).parent for x in options.get("test", ())]
        return [(member, seed_of(place)) for place in places]

    def write_state(self, row: Row, state: str | None) -> None:
        """Says in a row's folder why there is nothing, or not all."""
        path = self._state_file(row)
        if state is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {"state": state})

    def state(self, row: Row) -> str:
        """Returns what `write_state` said last of a row, or what is so."""
        path = self._state_file(row)
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))["state"]
        return UNFINISHED if any(self._results(row)) else NOT_RUN

    def _state_file(self, row):
        return self.root / row.folder / "status.json"
