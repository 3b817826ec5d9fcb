"""Sources: which utterances come from where the training clips come from.

OMG-Emotion's videos are parts of longer ones, its links, and a link may stand
in several splits: then a split rewards whoever remembers people. What the
records know of it is written beside an evaluation, in `facts.csv`: video,
utterance, source and person, empty where they are not known; in_train, 1 where
the source stands in the training split, too, 0 where it does not, empty where
that is not known; and what predicts without a pixel, empty without training
labels: the means of the training utterances' labels, mean_arousal and
mean_valence, and of those of the same source, else of all,
source_mean_arousal and source_mean_valence.
"""

import dataclasses
import pathlib
import typing
from collections.abc import Sequence

import numpy as np
import pandas as pd
from absl import logging

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation import csv_tables
from affwild_omg.evaluation.protocol import columns_of
from affwild_omg.paper.task import TARGETS
from affwild_omg.scoring.frames import video_of

if typing.TYPE_CHECKING:  # TensorFlow is slow, and results use this
    from affwild_omg.data.manifest import Manifest
    from affwild_omg.evaluation.results import Results

FACTS = "facts.csv"
# What each baseline predicts, by the prefix of its columns.
BASELINES = {
    "mean": "mean training label",
    "source_mean": "mean training label of the source",
}
_NAMES = ("source", "person")
_NUMBERS = (
    "in_train",
    *(f"{prefix}_{name}" for prefix in BASELINES for name in TARGETS[::-1]),
)


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """What is known of the utterances of a split beside their frames.

    Attributes:
        table: a row an utterance, by key, with the columns of `facts.csv`.
    """

    table: pd.DataFrame

    @classmethod
    def of_records(cls, records: "Manifest", split: str) -> "Facts":
        """Gathers the facts of a split from the manifest of its records.

        The training split itself has no baselines, as each of its labels is in
        their means, and no overlap; nor have records without one.

        Args:
            records: of which train is trained on.
            split: of these.

        Raises:
            UserError: there is no such split.
        """
        clips, train = records.clips(split), []
        if split != "train":
            train = records.splits.get("train", [])
        table = pd.DataFrame(
            {name: [getattr(x, name) or "" for x in clips] for name in _NAMES},
            index=[clip.key for clip in clips],
            dtype=object,
        )
        sources = [clip.source for clip in train]
        if None in sources and table["source"].any():
            logging.warning(
                "%d of %d training utterances have no source: whether %s "
                "shares theirs is not known",
                *(sources.count(None), len(train), split),
            )
        # Of none that is known, no source can be told to be another.
        known = table["source"].ne("") & any(sources)
        table["in_train"] = table["source"].isin(sources).where(known, np.nan)
        labels = pd.DataFrame([x.labels for x in train], columns=TARGETS)
        by_source = labels.groupby(pd.Series(sources, dtype=object)).mean()
        for name in TARGETS:
            mean = labels[name].mean()
            table[f"mean_{name}"] = mean
            own = table["source"].map(by_source[name]).fillna(mean)
            table[f"source_mean_{name}"] = own
        return cls(table.astype(dict.fromkeys(_NUMBERS, float)))

    @classmethod
    def of_sources(cls, keys: Sequence[str], sources: Sequence[str]) -> "Facts":
        """Makes facts of which nothing but the sources is known.

        Args:
            keys: of the utterances.
            sources: of each, "" where it is not known.
        """
        table = pd.DataFrame({"source": sources, "person": ""}, index=keys)
        return cls(table.assign(**dict.fromkeys(_NUMBERS, np.nan)))

    @classmethod
    def read(cls, path: pathlib.Path, flag: str) -> "Facts":
        """Reads what `write` wrote.

        Args:
            path: CSV.
            flag: that named its folder, for messages.

        Raises:
            UserError: it is not such a table, or a row is not as it must be.
        """
        return cls(csv_tables.read_facts(path, flag, _NAMES, _NUMBERS))

    def write(self, path: pathlib.Path) -> None:
        """Writes the facts."""
        columns = {name: self.table[name] for name in (*_NAMES, *_NUMBERS)}
        columns["in_train"] = self.table["in_train"].astype("Int64")
        csv_tables.write_facts(path, self.table.index, columns)

    def of(self, keys: Sequence[str]) -> "Facts":
        """Returns the facts of these utterances, in their order."""
        return Facts(self.table.loc[list(keys)])

    @property
    def trained(self) -> bool:
        """Whether there was another split that is trained on."""
        columns = self.table[list(_NUMBERS)]
        return bool(columns.notna().any(axis=None))

    @property
    def sources(self) -> np.ndarray:
        """The source of each utterance, "" where it is not known."""
        return self.table["source"].to_numpy()

    @property
    def in_train(self) -> np.ndarray:
        """Whether its source is known to stand in train, [utterances]."""
        return (self.table["in_train"] == 1).to_numpy()

    @property
    def disjoint(self) -> np.ndarray:
        """Whether its source is known not to stand in train, [utterances]."""
        return (self.table["in_train"] == 0).to_numpy()

    def counts(self) -> dict[str, int]:
        """Returns how many utterances and sources what is known is of."""
        known = self.sources[self.sources != ""]
        found = {"with_source": len(known), "sources": len(set(known))}
        if self.trained:
            found |= {
                "in_train": int(self.in_train.sum()),
                "not_in_train": int(self.disjoint.sum()),
            }
        return found

    def overlap(self) -> str:
        """Returns in a sentence how many sources stand in train, too."""
        if not self.trained:
            return (
                "no training split is known: there are no baselines, and what "
                "it shares with train is not known"
            )
        counts, total = self.counts(), len(self.table)
        unknown = total - counts["in_train"] - counts["not_in_train"]
        return (
            f"{counts['in_train']:,} of {wording.count(total, 'utterance')} "
            "have a source that stands in train, too; "
            f"{counts['not_in_train']:,} have none that does"
            + (f"; of {unknown:,} it is not known" if unknown else "")
        )

    def baseline(self, prefix: str, targets: Sequence[str]) -> np.ndarray:
        """Returns what one of `BASELINES` predicts, [utterances, targets]."""
        return self.table[[f"{prefix}_{x}" for x in targets]].to_numpy()


def clusters(keys: Sequence[str], facts: Facts | None) -> np.ndarray:
    """Returns what is independent: the source of each, else its video.

    Args:
        keys: "<video>/<utterance>", [utterances].
        facts: of these utterances; None where nothing is known.
    """
    videos = np.array([video_of(key) for key in keys], object)
    if facts is None:
        return videos
    return np.where(facts.sources != "", facts.sources, videos)


def table(found: "Results") -> Table:
    """Returns what stands beside the model, see `Results.beside`, as text."""
    names = BASELINES | {"source_disjoint": "model, source not in train"}
    columns = columns_of(found.targets)
    rows, scores = [], {"model": found.headline}
    scores |= {names[name]: x for name, x in found.beside.items()}
    for name, own in scores.items():
        cccs = [own.ccc_text(x) for x in columns]
        rows.append([name, *cccs, f"{own.rows:,}"])
    return Table(("CCC", *columns, "rows"), rows)


def lines(found: "Results") -> list[str]:
    """Returns what sources explain as lines for a console."""
    if found.facts is None or found.provenance.split == "train":
        return []
    lines = table(found).lines() if found.beside else []
    return [*lines, found.facts.overlap()]


def choose(
    facts: Facts | None,
    labels: np.ndarray,
    targets: Sequence[str],
    flag: str,
    which: str,
) -> np.ndarray:
    """Returns which utterances of a validation split decide.

    Args:
        facts: of the split; None where nothing is known.
        labels: [utterances, targets], NaN where there is none.
        targets: names of the columns.
        flag: that says which, for messages.
        which: one of `options.VALIDATIONS`.

    Returns:
        bool [utterances].

    Raises:
        UserError: disjoint ones are wanted, and what stands in train is not
            known, or too few are left for a CCC of a target that some
            utterance has a label of.
    """
    if which == "all":
        return np.ones(len(labels), bool)
    flag = f"{flag}={which}"
    if facts is None or not facts.trained:
        raise UserError(
            f"{flag} needs to know which sources stand in train, but there is "
            f"no training split or no {FACTS} of one that has it; leave it "
            "out, or evaluate records that have a training split"
        )
    chosen = facts.disjoint
    for target, column in zip(targets, labels.T, strict=True):
        known = np.isfinite(column)
        if known.any() and len(set(column[known & chosen])) < 2:
            raise UserError(
                f"{flag} leaves {chosen.sum()} of "
                f"{wording.count(len(labels), 'utterance')}, too few for a CCC "
                f"of {target}: of two, at least, the source must be known not "
                "to stand in train, and the labels differ; leave it out, or "
                "prepare tables that name the sources"
            )
    return chosen


def choose_of_records(
    records: "Manifest", targets: Sequence[str], which: str
) -> list[str]:
    """Returns the keys of those utterances of validation that decide.

    Args:
        records: that are there.
        targets: what is predicted.
        which: what --validation says, one of `options.VALIDATIONS`.

    Raises:
        UserError: as `choose`, or there is no such split.
    """
    clips = records.clips("validation")
    columns = [TARGETS.index(target) for target in targets]
    labels = np.array(
        [np.where(x.labelled, x.labels, np.nan)[columns] for x in clips]
    )
    facts = None
    if which != "all":
        facts = Facts.of_records(records, "validation")
    chosen = choose(facts, labels, targets, "--validation", which)
    return [clips[i].key for i in np.flatnonzero(chosen)]
