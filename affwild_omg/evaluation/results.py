"""Results: what a run predicts of a split, the truth, and where it comes from.

A folder of results holds `metrics.json`, `predictions.csv`, `labels.csv` if
there are labels, and pictures of the two; of post-processed predictions
`unprocessed.csv` with those before it, and the steps in `postprocessing.json`;
of an evaluation `frames.csv` and `facts.csv`. The tables are described in
`evaluation.csv_tables` and `evaluation.sources`. `metrics.json` states the
scores for people and other programs; here it is read back for the provenance
alone.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import pandas as pd
from absl import logging

from affwild_omg import figures
from affwild_omg.cli.errors import UserError, listed
from affwild_omg.evaluation import csv_tables, protocol
from affwild_omg.evaluation.csv_tables import REMEDY
from affwild_omg.evaluation.groups import Groups
from affwild_omg.evaluation.options import LEVELS, POOLINGS
from affwild_omg.evaluation.protocol import Scores
from affwild_omg.evaluation.sources import BASELINES, FACTS, Facts, clusters
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.breakdown import Group
from affwild_omg.scoring.frames import Frames, video_of
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage import files, remote
from affwild_omg.weights import workdir
from affwild_omg.weights.workdir import POSTPROCESSING

METRICS = "metrics.json"
PREDICTIONS = "predictions.csv"
LABELS = "labels.csv"
UNPROCESSED = "unprocessed.csv"
FRAMES = "frames.csv"
SCATTER = "scatter.png"
HISTOGRAMS = "histograms.png"
FILES = (
    METRICS,
    PREDICTIONS,
    LABELS,
    UNPROCESSED,
    FRAMES,
    FACTS,
    POSTPROCESSING,
    SCATTER,
    HISTOGRAMS,
)

DECIMALS = 6  # of predictions
TOLERANCE = 1e-6  # of two folders' labels of one utterance
_ORIGIN = "give a folder that evaluate.py wrote"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where results come from; None stands for what is unknown or not so.

    The fields are grouped: the protocol of the headline scores; the split; the
    model; post-processing; fusion; submission.
    """

    level: str = "utterance"
    pooling: str = "pooled"
    row: str | None = None  # "frame" where each is one, no utterance

    corpus: str | None = None
    split: str | None = None
    expected: int | None = None  # utterances of the whole split
    coverage: float | None = None  # the share of them that was predicted
    utterances_without_face: int | None = None
    frames: int | None = None
    frames_with_face: int | None = None
    records_sha256: str | None = None  # of their manifest.json

    model: str | None = None
    model_sha256: str | None = None
    network: dict | None = None  # `Architecture` or `Fusion`
    training: dict | None = None  # options, from the workdir's history.json
    options: dict | None = None  # of the command that made the results
    sequence_estimate: str | None = None
    sequence_weights: str | None = None
    sequence_length: int | None = None
    tail: str | None = None  # None stands for that of earlier versions, "pad"

    postprocessing: Settings | None = None
    postprocessing_source: dict | None = None  # its file and "same_model"

    half_widths: dict | None = None  # `HalfWidths`, validation's
    within: dict | None = None  # see `HalfWidths.inside`; not of validation

    members: list[dict] | None = None  # this and more: see `fusion.fuse`
    equal_weights: Scores | None = None
    best_single: str | None = None

    match: str | None = None  # "key", "order" or "frame", see `submission`
    unmatched: dict[str, list[str]] | None = None
    misordered: list[dict] | None = None
    predictions: str | None = None
    annotations: str | None = None

    def to_dict(self) -> dict:
        """Returns what is known, as JSON knows it, for `from_dict`."""
        known = {k: x for k, x in vars(self).items() if x is not None}
        if self.postprocessing:
            known["postprocessing"] = self.postprocessing.to_dict()
        if self.equal_weights:
            known["equal_weights"] = self.equal_weights.to_dict()
        if self.members:  # of one that was read back, without scores
            known["members"] = [
                member
                | {k: x.to_dict() for k, x in member.items() if k == "scores"}
                for member in self.members
            ]
        return known

    @classmethod
    def from_dict(cls, stated: Mapping) -> "Provenance":
        """Reads the provenance out of what metrics.json states.

        What the members of a fusion and their average score stays there.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        names.remove("equal_weights")
        known = {name: stated[name] for name in names if name in stated}
        if steps := known.get("postprocessing"):
            known["postprocessing"] = Settings.from_dict(steps)
        if members := known.get("members"):
            known["members"] = [
                {k: x for k, x in member.items() if k != "scores"}
                for member in members
            ]
        return cls(**known)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What a run predicts of the utterances of a split.

    Attributes:
        keys: "<video>/<utterance>", [utterances].
        targets: what was predicted, in the order of `TARGETS`.
        predictions: [utterances, targets].
        labels: [utterances, targets], NaN where there is none.
        provenance: where the predictions come from.
        unprocessed: predictions before post-processing, [utterances,
            targets]; None where there was none.
        frames: predictions by frame, before post-processing; None where there
            are none, or they were not read.
        facts: what else is known of the utterances; None where nothing is.
        groups: which of them are scored together; None where that was not
            asked for, or is not read.
    """

    keys: list[str]
    targets: tuple[str, ...]
    predictions: np.ndarray
    labels: np.ndarray
    provenance: Provenance
    unprocessed: np.ndarray | None = None
    frames: Frames | None = None
    facts: Facts | None = None
    groups: Groups | None = None

    @property
    def noun(self) -> str:
        """What a row is: "utterance" or "frame"."""
        return self.provenance.row or "utterance"

    @property
    def videos(self) -> list[str]:
        """The video of each utterance."""
        return [video_of(key) for key in self.keys]

    @property
    def labelled(self) -> np.ndarray:
        """Whether an utterance has a label of some target, [utterances]."""
        return np.isfinite(self.labels).any(axis=1)

    @property
    def clusters(self) -> np.ndarray:
        """What is independent, see `sources.clusters`."""
        return clusters(self.keys, self.facts)

    def subset(self, chosen: np.ndarray) -> "Results":
        """Returns the results of some utterances, bool [utterances]."""
        places = np.flatnonzero(chosen)
        changes = {"keys": [self.keys[i] for i in places], "groups": None}
        for name in ("predictions", "labels", "unprocessed"):
            if (values := getattr(self, name)) is not None:
                changes[name] = values[places]
        if self.frames is not None:
            changes["frames"] = self.frames.subset(chosen)
        if self.facts is not None:
            changes["facts"] = self.facts.of(changes["keys"])
        return dataclasses.replace(self, **changes)

    @functools.cached_property
    def beside(self) -> dict[str, Scores]:
        """What tells how much sources explain, by the headline's protocol.

        By name: each of `sources.BASELINES` that there are training labels
        for, on all utterances; and "source_disjoint", these predictions where
        the source is known not to stand in train, with intervals. Without what
        has no rows.
        """
        if self.facts is None or not self.facts.trained:
            return {}
        how, found = (self.provenance.level, self.provenance.pooling), {}
        for name in BASELINES:
            values = self.facts.baseline(name, self.targets)
            found[name] = self._predicting(values).scores(*how)
        apart = self.subset(self.facts.disjoint)
        if apart.labelled.any():
            found["source_disjoint"] = apart.scores(*how, intervals=True)
        return {name: scores for name, scores in found.items() if scores.rows}

    def _predicting(self, values):
        """Returns results that have a value for each utterance.

        Those targets are left that have values, [utterances, targets].
        """
        columns = np.flatnonzero(np.isfinite(values).all(axis=0))
        values, frames = values[:, columns], self.frames
        targets = tuple(self.targets[i] for i in columns)
        if frames is not None:
            repeated = [
                np.tile(x, (length, 1))
                for x, length in zip(values, frames.lengths, strict=True)
            ]
            frames = dataclasses.replace(
                frames,
                targets=targets,
                values=repeated,
                labels=[labels[:, columns] for labels in frames.labels],
            )
        return dataclasses.replace(
            self,
            targets=targets,
            predictions=values,
            labels=self.labels[:, columns],
            provenance=dataclasses.replace(
                self.provenance, postprocessing=None
            ),
            unprocessed=None,
            frames=frames,
        )

    def scores(
        self, level: str | None = None, pooling: str = "pooled", **how
    ) -> Scores:
        """Scores the predictions by a protocol, see `protocol.score`.

        Args:
            level: what the rows are, which is the default, or if there are
                frames "sequence" or "frame".
            pooling: "pooled" or "per_video".
            how: more for `protocol.score`, such as intervals=True.
        """
        level = level or self.noun
        if level == self.noun:
            data = self.predictions, self.labels
            rows = protocol.labelled(self.videos, *data, self.clusters)
        else:
            steps = self.provenance.postprocessing or Settings.nothing(
                self.targets, self.provenance.sequence_estimate
            )
            rows = protocol.rows_of(self.frames, steps, level, self.clusters)
        return protocol.score(
            rows, self.targets, level=level, pooling=pooling, **how
        )

    @functools.cached_property
    def by_group(self) -> dict[str, list[Group]]:
        """The groups' scores, see `groups.Groups.scores`."""
        data = self.labels, self.predictions, self.clusters
        return self.groups.scores(*data, self.targets)

    @functools.cached_property
    def headline(self) -> Scores:
        """The scores by the provenance's protocol, with intervals."""
        return self.scores(
            self.provenance.level, self.provenance.pooling, intervals=True
        )

    @functools.cached_property
    def without_postprocessing(self) -> "Results | None":
        """The same before post-processing; None if there was none."""
        if self.unprocessed is None:
            return None
        source = dataclasses.replace(self.provenance, postprocessing=None)
        return dataclasses.replace(
            self,
            predictions=self.unprocessed,
            provenance=source,
            unprocessed=None,
        )

    def to_dict(self) -> dict:
        """Returns what metrics.json states of the results."""
        metrics = self.headline.to_dict() | {
            f"{self.noun}s": int(self.labelled.sum()),
            "moments": "1/N",
            **self.provenance.to_dict(),
        }
        if self.frames is not None:
            metrics["protocols"] = {
                level: {x: self.scores(level, x).to_dict() for x in POOLINGS}
                for level in LEVELS
            }
        if bare := self.without_postprocessing:
            metrics["unprocessed"] = bare.headline.to_dict()
        if self.facts is not None:
            metrics["sources"] = self.facts.counts() | {
                name: x.to_dict() for name, x in self.beside.items()
            }
        if self.groups is not None:
            metrics["groups"] = self.groups.to_dict(self.by_group)
        return metrics


def as_written(predictions: np.ndarray) -> np.ndarray:
    """Rounds predictions to the digits that are worth writing.

    What is scored afterwards gives the same scores when it is read again.
    """
    return np.round(predictions, DECIMALS)


def folder(
    output: os.PathLike | str, *, overwrite: bool
) -> contextlib.AbstractContextManager[pathlib.Path]:
    """Opens a folder for `write`, see `files.atomic_directory`.

    Raises:
        UserError: as that; or it is the workdir of a training, one of whose
            files has a name that results have.
    """
    history = None
    with contextlib.suppress(UserError):  # of something else
        history = workdir.read_history(output)
    if history:
        raise UserError(
            f"--output={output} is the workdir of a training; name another "
            "folder"
        )
    return files.atomic_directory(
        output,
        flag="--output",
        overwrite=overwrite,
        owned=FILES,
        last=(METRICS,),
    )


def write(directory: pathlib.Path, results: Results) -> None:
    """Writes the files of a results folder.

    An utterance stands in `labels.csv` if some target has a label; the field
    of one that has none is empty. If no utterance has a label, there is neither
    that file nor a picture.

    Args:
        directory: an empty folder.
        results: what to write, with all digits.
    """
    known, targets = results.labelled, results.targets
    keys = np.array(results.keys, object)
    labels, predictions = results.labels[known], results.predictions[known]
    tables = {
        PREDICTIONS: (keys, results.predictions),
        UNPROCESSED: (keys, results.unprocessed),
        LABELS: (keys[known], labels if known.any() else None),
    }
    for name, (names, values) in tables.items():
        if values is not None:
            csv_tables.write_utterances(
                directory / name, targets, names, values
            )
    if results.frames is not None:
        csv_tables.write_frames(directory / FRAMES, results.frames)
    if results.facts is not None:
        results.facts.write(directory / FACTS)
    if known.any():
        # The CCC of these very points, whatever protocol the headline is of.
        cccs = results.scores().cccs
        figures.scatter(
            *(directory / SCATTER, labels, predictions, targets, cccs),
            noun=results.noun,
        )
        both = np.isfinite(labels).all(axis=1)
        if targets == TARGETS and both.any():
            figures.plane_histograms(
                *(directory / HISTOGRAMS, labels[both], predictions[both]),
                noun=results.noun,
            )
    files.write_json(directory / METRICS, results.to_dict())


def read(
    directory: os.PathLike | str, *, flag: str, frames: bool = False
) -> Results:
    """Reads a results folder.

    Args:
        directory: what `write` made.
        flag: that named it, for messages.
        frames: read `frames.csv` too, if there is one.

    Returns:
        The results, in the order of predictions.csv.

    Raises:
        UserError: the folder or a file is missing, or a table or metrics.json
            is not as `write` makes it.
    """
    directory = remote.path(directory)
    frames = frames and (directory / FRAMES).is_file()
    scored, provenance = _read_metrics(directory / METRICS, flag, frames)
    if not (directory / PREDICTIONS).is_file():
        raise UserError(f"{flag}={directory} holds no {PREDICTIONS}; {_ORIGIN}")
    predictions = csv_tables.read_utterances(directory / PREDICTIONS, flag)
    labels = _read_beside(
        directory / LABELS, flag, predictions, scored, empty=True
    )
    unprocessed = by_frame = facts = None
    if (directory / UNPROCESSED).is_file():
        unprocessed = _read_beside(
            directory / UNPROCESSED, flag, predictions, len(predictions)
        )
    if frames:
        by_frame = csv_tables.read_frames(
            directory / FRAMES,
            flag,
            sequence_length=provenance.sequence_length,
            tail=provenance.tail or "pad",
        )
        _check_count(
            f"{flag}={directory / FRAMES}",
            "frames",
            by_frame.lengths.sum(),
            provenance.frames,
        )
        if by_frame.keys != predictions.index.tolist():
            raise UserError(
                f"{flag}={directory / FRAMES} has other utterances than "
                f"{PREDICTIONS} beside it, or in another order; {REMEDY}"
            )
    if (directory / FACTS).is_file():
        facts = Facts.read(directory / FACTS, flag)
        _check_fit(
            directory / FACTS, flag, facts.table.index, predictions.index
        )
        facts = facts.of(predictions.index)
    return Results(
        keys=predictions.index.tolist(),
        targets=tuple(predictions.columns),
        predictions=predictions.to_numpy(),
        labels=labels,
        provenance=provenance,
        unprocessed=unprocessed,
        frames=by_frame,
        facts=facts,
    )


def _read_metrics(path, flag, frames):
    if not path.is_file():
        raise UserError(f"{flag}={path.parent} holds no {METRICS}; {_ORIGIN}")
    try:
        stated = json.loads(path.read_text(encoding="utf-8"))
        rows = f"{stated.get('row', 'utterance')}s"
        least = {rows: 0} | ({"sequence_length": 1} if frames else {})
        for name, value in least.items():
            count = stated.get(name)
            if type(count) is not int or count < value:
                raise ValueError(f"{name} is {count!r}")
        known = dict(stated)
        if rows == "frames":  # not those of utterances
            del known["frames"]
        return stated[rows], Provenance.from_dict(known)
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            f"{flag}={path} is not what evaluate.py writes ({error}); {_ORIGIN}"
        ) from error


def _read_beside(path, flag, predictions, count, *, empty=False):
    """Reads a table of so many of the same utterances.

    Args:
        path: CSV.
        flag: that named its folder, for messages.
        predictions: the table beside it.
        count: how many utterances it must have.
        empty: whether a number may be missing.

    Returns:
        [utterances, targets] in the order of the predictions, NaN where it
        lacks one.
    """
    table = predictions[:0]
    if path.is_file():
        table = csv_tables.read_utterances(path, flag, empty=empty)
    _check_fit(path, flag, table.columns, predictions.columns)
    _check_fit(path, flag, table.index, predictions.index, lacks=True)
    _check_count(f"{flag}={path}", "utterances", len(table), count)
    return table.reindex(predictions.index).to_numpy()


def _check_fit(path, flag, names, others, *, lacks=False):
    """Refuses names that one has alone, but for those it may lack."""
    odd = names.difference(others, sort=False)
    if not lacks:
        odd = odd.append(others.difference(names, sort=False))
    if len(odd):
        raise UserError(
            f"{flag}={path} does not fit {PREDICTIONS} beside it: {odd[0]} is "
            f"in one of them alone; {REMEDY}"
        )


def _check_count(name, unit, count, stated):
    """Tells a table that was cut off at the end of a line."""
    if stated not in (None, count):
        raise UserError(
            f"{name} has {count} {unit}, but the files beside it have "
            f"{stated}; {REMEDY}"
        )


@dataclasses.dataclass(frozen=True)
class Split:
    """Several runs' results on one split, in one order.

    Attributes:
        keys: "<video>/<utterance>", [utterances].
        targets: those that any run has.
        predictions: [runs, utterances, targets], NaN where a run lacks the
            target.
        labels: [utterances, targets], NaN where no run knows it.
        facts: of the run that knows most sources; None where none has any.
    """

    keys: list[str]
    targets: tuple[str, ...]
    predictions: np.ndarray
    labels: np.ndarray
    facts: Facts | None = None

    @property
    def clusters(self) -> np.ndarray:
        """What is independent, see `sources.clusters`."""
        return clusters(self.keys, self.facts)


def warn_of_levels(runs: Mapping[str, Results]) -> None:
    """Warns of runs whose headline is not by what is taken of them, the rows.

    Args:
        runs: by what names them in messages.
    """
    for where, run in runs.items():
        if run.provenance.level != run.noun:
            logging.warning(
                "%s: its headline is by %s; here its %ss count",
                *(where, run.provenance.level, run.noun),
            )


def align(runs: Mapping[str, Results]) -> Split:
    """Brings the results of a split into the order of the first.

    Args:
        runs: by name, "--flag=folder", for messages; one or more.

    Raises:
        UserError: a run has other utterances than the first, or another label
            than one before it.
    """
    first, *_ = runs
    keys = pd.Index(runs[first].keys)
    known = {name for run in runs.values() for name in run.targets}
    targets = tuple(name for name in TARGETS if name in known)
    labels = np.full((len(keys), len(targets)), np.nan)
    predictions = []
    for name, run in runs.items():
        lacks = keys.difference(run.keys, sort=False)
        adds = pd.Index(run.keys).difference(keys, sort=False)
        if len(lacks) or len(adds):
            raise UserError(
                f"{name} lacks {len(lacks)} ({listed(lacks)}) of the "
                f"{len(keys)} utterances of {first} and adds {len(adds)} "
                f"({listed(adds)}); evaluate all runs on the same records, or "
                "score them by the same annotations"
            )
        own, found = (
            pd.DataFrame(values, run.keys, run.targets)
            .reindex(index=keys, columns=targets)
            .to_numpy()
            for values in (run.labels, run.predictions)
        )
        predictions.append(found)
        for row, column in np.argwhere(np.abs(own - labels) > TOLERANCE)[:1]:
            raise UserError(
                f"{name}: {keys[row]} has the {targets[column]} label "
                f"{own[row, column]:g}, in a folder before it "
                f"{labels[row, column]:g}; evaluate all runs on the same "
                "records"
            )
        labels = np.where(np.isnan(labels), own, labels)
    known = [x.facts.of(keys) for x in runs.values() if x.facts is not None]
    facts = max(
        known,
        key=lambda x: (x.counts()["with_source"], x.trained),
        default=None,
    )
    return Split(list(keys), targets, np.stack(predictions), labels, facts)
