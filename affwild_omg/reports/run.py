"""What a report is made from: one run's results, and what the user asked."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from affwild_omg.evaluation import results
from affwild_omg.evaluation.results import Results
from affwild_omg.reports import claims
from affwild_omg.reports.options import ReportOptions
from affwild_omg.scoring.frames import Frames, video_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """One run, as every section of its report sees it.

    Attributes:
        options: what the user asked for.
        directory: where the page, its pictures and tables are written.
        results: all that the results folder holds.
        frames: predictions by frame, None where the folder has none.
        corpus: its name, None where nothing tells.
        keys: the utterances that have labels, "<video>/<utterance>" each.
        videos: the video of each of these, [utterances].
        labels: theirs, [utterances, targets], finite.
        predictions: theirs, [utterances, targets], finite.
        place: {key: number} of all utterances among the frames.
    """

    options: ReportOptions
    directory: pathlib.Path
    results: Results
    frames: Frames | None
    corpus: str | None
    keys: Sequence[str]
    videos: Sequence[str]
    labels: np.ndarray
    predictions: np.ndarray
    place: Mapping[str, int]

    @property
    def metrics(self) -> dict:
        """What metrics.json says."""
        return self.results.metrics

    @property
    def targets(self) -> tuple[str, ...]:
        """What was predicted: the columns of labels and predictions."""
        return self.results.targets

    def seconds(self, key: str) -> float | None:
        """Returns how long an utterance lasts, None where no frame tells."""
        i = self.place.get(key)
        if i is None:
            return None
        return len(self.frames.mask[i]) / float(self.frames.fps[i])


def read(options: ReportOptions, directory: pathlib.Path) -> Run:
    """Reads what a report is made from.

    Args:
        options: what to read.
        directory: where the report is to be written.

    Raises:
        UserError: the results or the records can't be used, or metrics.json
            lacks a score, or scores other predictions or labels than stand
            beside it.
    """
    found = results.read(options.results, flag="--results")
    frames = results.read_frames(options.results, flag="--results")
    known = np.isfinite(found.labels).all(axis=1)
    keys = [key for key, has in zip(found.keys, known, strict=True) if has]
    claims.check(options.results, found)
    return Run(
        options=options,
        directory=directory,
        results=found,
        frames=frames,
        corpus=_corpus(options, found.metrics),
        keys=keys,
        videos=[video_of(key) for key in keys],
        labels=found.labels[known],
        predictions=found.predictions[known],
        place={key: i for i, key in enumerate(frames.keys)} if frames else {},
    )


def _corpus(options, metrics):
    corpus = metrics.get("corpus")
    if not corpus and options.records:
        from affwild_omg.data import records

        corpus = records.read_manifest(options.records).get("corpus")
    return corpus
