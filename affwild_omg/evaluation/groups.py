"""Groups of people or videos, such as by age: is each predicted as well?"""

import dataclasses
import typing
from collections.abc import Sequence

import numpy as np
import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import csv_tables
from affwild_omg.scoring import breakdown
from affwild_omg.scoring.breakdown import Group
from affwild_omg.scoring.frames import video_of
from affwild_omg.storage import remote

if typing.TYPE_CHECKING:  # which uses this
    from affwild_omg.evaluation.results import Results


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Groups:
    """Which utterances belong together.

    Attributes:
        file: the table that says so.
        values: a row an utterance, by key; each column is a way to group them,
            its texts are the groups, "" where there is none.
        unknown: names in the table that no utterance has.
        missing: utterances that the table has no row of.
    """

    file: str
    values: pd.DataFrame
    unknown: Sequence[str]
    missing: Sequence[str]

    @classmethod
    def read(cls, file: str, keys: Sequence[str]) -> "Groups":
        """Reads a table of groups.

        Args:
            file: CSV with column name ("<video>/<utterance>") or video, and one
                or more others.
            keys: of the utterances.

        Raises:
            UserError: it is not such a table, or names none of the utterances.
        """
        by, table = csv_tables.read_groups(remote.path(file), "--groups")
        names = keys if by == "name" else [video_of(key) for key in keys]
        names = pd.Index(names)
        unknown = table.index.difference(names, sort=False).tolist()
        if len(unknown) == len(table):
            raise UserError(
                f"--groups={file} names no {by} of these utterances: it has "
                f"{listed(unknown, 2)}, they are {listed(names.unique(), 2)}"
            )
        missing = [
            key
            for key, known in zip(keys, names.isin(table.index), strict=True)
            if not known
        ]
        values = table.reindex(names, fill_value="").set_axis(keys)
        return cls(file=file, values=values, unknown=unknown, missing=missing)

    def of(self, keys: Sequence[str]) -> "Groups":
        """Returns the same with the utterances in this order."""
        return dataclasses.replace(self, values=self.values.loc[list(keys)])

    def scores(
        self,
        labels: np.ndarray,
        predictions: np.ndarray,
        clusters: Sequence[str],
        targets: Sequence[str],
    ) -> dict[str, list[Group]]:
        """Scores each group on its labelled utterances, pooled.

        Args:
            labels: [utterances, targets], NaN where there is none.
            predictions: [utterances, targets].
            clusters: what intervals draw as a whole, [utterances].
            targets: names of the columns.

        Returns:
            {column: its groups in the order of their names}.
        """
        known = np.isfinite(labels).any(axis=1)
        videos = [video_of(key) for key in self.values.index]
        found = {}
        for column, own in self.values.items():
            masks = {
                name: own.eq(name).to_numpy() & known
                for name in sorted(own.unique())
                if name
            }
            found[column] = breakdown.by_group(
                labels, predictions, videos, masks, targets, clusters
            )
        return found

    def to_dict(self, scores: dict[str, list[Group]]) -> dict:
        """Returns what metrics.json states of the groups."""
        return {
            "file": self.file,
            "unknown": list(self.unknown),
            "missing": list(self.missing),
            "scores": {
                column: [_row(group) for group in groups]
                for column, groups in scores.items()
            },
        }


def lines(found: "Results") -> list[str]:
    """Returns the scores of groups as lines for a console."""
    groups = found.groups
    if groups is None:
        return []
    columns = ("CCC", "interval", "bias")
    header = [f"{target} {x}" for target in found.targets for x in columns]
    rows = [
        [
            f"{column}: {group.name}",
            f"{group.utterances:,}",
            *(x for name in found.targets for x in _cells(group, name)),
        ]
        for column, own in found.by_group.items()
        for group in own
    ]
    lines = Table(("group, pooled", "utterances", *header), rows).lines()
    for names, what in (
        (groups.unknown, "names that no utterance here has"),
        (groups.missing, "utterances here without a row"),
    ):
        if names:
            lines.append(
                f"--groups={groups.file}, {what}: {len(names):,} "
                f"({listed(names)})"
            )
    for column, own in groups.values.items():
        empty = int(own.eq("").sum()) - len(groups.missing)
        if empty:
            lines.append(
                f"{column}: {wording.count(empty, 'utterance')} without a "
                "value, in no group"
            )
    return lines


def _row(group):
    """Returns a group as JSON; a CCC that is 0 by definition is none."""
    row = group.to_row()
    for target, score in group.scores.items():
        if not score.varies:
            row[f"{target}_ccc"] = None
    return {name: x for name, x in row.items() if x is not None}


def _cells(group, target):
    score = group.scores.get(target)
    if score is None:
        return "no label", "", ""
    bias = wording.number(score.bias)
    if not score.varies:
        why = "constant" if score.label_std else "too small for a CCC"
        return why, "", bias
    # One video, or source, has no interval.
    return wording.number(score.ccc), wording.interval(score.interval), bias
