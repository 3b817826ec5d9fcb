"""What was measured of a table's rows, from the tables of their runs.

Whatever metrics.json says: the paper's protocol is that of section 6.1, by
utterance and pooled, and a table must compare like with like.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.experiments import runs as places
from affwild_omg.experiments.differences import differences
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.scoring import concordance, significance
from affwild_omg.scoring.frames import video_of

MEASURED = "measured"
OTHERS = "other system"
_TARGETS_OF = protocol.columns_of(TARGETS)
COLUMNS = tuple(_TARGETS_OF)
CORPUS = "omg"  # the one that the paper's numbers are of
STATISTICS = {"ccc": "concordance", "mse": "mean_squared_error"}
NO_LABELS = "no labels"
ONE_TARGET = "one target only"
_NOISE = (
    "Another set of videos would move a CCC by about half its interval (with "
    "OMG's 2,229 test utterances by about 0.03): a smaller difference from a "
    "published one is within sampling noise. Another seed moves it too."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tabulated:
    """A table of the paper with what was measured.

    Attributes:
        table: as the paper has it.
        rows: one a row of the paper, in its order; "state" is "measured", or
            says why there is nothing. For all keys see `tabulate`.
        notes: what is to be known when reading it, a sentence each.
    """

    table: tables.Table
    rows: list[dict]
    notes: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Runs:
    """Runs on the same labelled utterances.

    Attributes:
        videos: of each utterance, [utterances].
        labels: [utterances, targets], in the order of `TARGETS`.
        predictions: [runs, utterances, targets], NaN of what a run lacks.
    """

    videos: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray

    @classmethod
    def align(cls, found: Sequence[results.Results]) -> "_Runs":
        """Brings runs into one order.

        Raises:
            UserError: they are of other utterances.
        """
        split = results.align({f"run {i}": one for i, one in enumerate(found)})
        shape = (*split.predictions.shape[:2], len(TARGETS))
        predictions, labels = np.full(shape, np.nan), np.full(shape[1:], np.nan)
        columns = [TARGETS.index(name) for name in split.targets]
        predictions[..., columns] = split.predictions
        labels[:, columns] = split.labels
        known = np.isfinite(split.labels).all(axis=1)
        videos = [video_of(key) for key in split.keys]
        return cls(
            videos=np.array(videos)[known],
            labels=labels[known],
            predictions=predictions[:, known],
        )

    def within(self, inside: Callable) -> "_Runs":
        """Returns those whose valence and arousal labels lie inside."""
        own = np.isfinite(self.labels).all(axis=1)
        # A comparison with NaN is False, but warns: keep them out.
        own[own] = inside(*self.labels[own].T)
        return _Runs(
            videos=self.videos[own],
            labels=self.labels[own],
            predictions=self.predictions[:, own],
        )

    def columns(self, targets: Sequence[int]):
        """Returns labels and predictions [utterances, runs x targets].

        None where one is missing, or there is no utterance.
        """
        count = len(self.labels)
        if not count:
            return None
        predictions = np.moveaxis(self.predictions[..., targets], 0, 1)
        labels = np.broadcast_to(
            self.labels[:, None, targets], predictions.shape
        )
        pair = labels.reshape(count, -1), predictions.reshape(count, -1)
        return pair if all(np.isfinite(part).all() for part in pair) else None


def tabulate(number: int, runs: os.PathLike | str) -> Tabulated:
    """Lays measured rows beside the published ones.

    A row that was not run with its pre-training takes the place of one that
    was, where that is missing: runs in the folder of
    `experiments.without_pretraining`. Table 4, which compares the two, is the
    exception. Runs that are being made anew are left out.

    Args:
        number: of the table.
        runs: folder of the runs.

    Returns:
        Each row a dict of:
        "key", "label", "heading", "state", "folder" (None for other systems);
        "published" and, in table 3, "published_unprocessed": {"valence",
        "arousal", "mean"}; and of rows that were measured
        "measured": {"valence", "arousal", "mean": {"value": mean over the
        seeds; "low" and "high": its interval, by drawing the same videos for
        all seeds, None where there are fewer than two videos, a constant, or
        seeds of other utterances; "min" and "max" over the seeds, where more
        than one; "holds_published"}}, None where there is nothing;
        "unprocessed": likewise without post-processing, or None; "seeds",
        "corpus", "coverage", "utterances" (of a region those whose labels lie
        there), a list where seeds differ; "differences" from the paper's row;
        and "p_value": {"valence", "arousal", "mean"}, "compared_with": the key
        of the best row, and "compared_over": the seeds, where a test could be
        made, see `significance.holm`.

    Raises:
        UserError: a results folder can't be read.
    """
    table = tables.TABLES[number]
    read = functools.cache(functools.partial(results.read, flag="--runs"))
    rows = []
    for row in table.rows:
        entry = {
            "key": row.key,
            "label": row.label,
            "heading": row.heading,
            "folder": row.folder,
            "state": OTHERS,
            "published": _triple(row.published),
        }
        if row.unprocessed:
            entry["published_unprocessed"] = _triple(row.unprocessed)
        if row.folder:
            entry |= _measure(table, row, pathlib.Path(runs), read)
        rows.append(entry)
    if table.metric == "ccc":  # the rows of MSE are regions of one run
        _compare(rows, pathlib.Path(runs), read)
    return Tabulated(table=table, rows=rows, notes=_notes(table, rows))


def _triple(scores):
    return {name: getattr(scores, name) for name in COLUMNS}


def _measure(table, row, runs, read):
    """Returns what was measured of a row, or why there is nothing."""
    candidates = [row]
    if table.number != 4:  # which has the others as rows of their own
        candidates.append(tables.without_pretraining(row))
    unfinished = False
    for candidate in candidates:
        there = places.find_seeds(runs / candidate.folder)
        seeds = [x for x in there if places.is_whole(runs, candidate, x)]
        if seeds:
            break
        unfinished = unfinished or bool(there)
    else:
        state = _newest_state(runs, candidates)
        if unfinished and not state.startswith("failed"):
            state = places.UNFINISHED
        return {"state": state}
    found = [
        read(places.place(runs, candidate.folder, seed) / places.TEST)
        for seed in seeds
    ]
    inside = getattr(row, "contains", None)  # of a region
    why = _nothing(found, inside)
    if why:
        return {"state": why}
    all_metrics = [one.metrics for one in found]
    differ = differences(candidate, runs, seeds, read)
    if candidate.pretraining != row.pretraining:
        differ.insert(0, "not pre-trained")
    state = places.read_state(runs / candidate.folder)
    if state.startswith("failed"):
        differ.append(state)
    entry = {
        "folder": candidate.folder,
        "state": MEASURED,
        "seeds": seeds,
        "corpus": _alike([m.get("corpus") for m in all_metrics]),
        "coverage": _alike([m.get("coverage") for m in all_metrics]),
        "differences": differ,
    }
    published = row.published if entry["corpus"] == CORPUS else None
    groups = _groups(found, inside)
    before = None
    if any(one.unprocessed is not None for one in found):
        # What was not processed stands for itself.
        bare = [
            one
            if one.unprocessed is None
            else dataclasses.replace(one, predictions=one.unprocessed)
            for one in found
        ]
        before = _scores(_groups(bare, inside), table.metric, None)
    return entry | {
        "utterances": _alike([len(group.labels) for group in groups]),
        "measured": _scores(groups, table.metric, published),
        "unprocessed": before,
        "constant": _constant(groups) if table.metric == "ccc" else [],
    }


def _nothing(found, inside):
    """Returns why there is nothing to score, None if there is something."""
    if not any(np.isfinite(one.labels).all(axis=1).any() for one in found):
        return NO_LABELS
    if inside and any(one.targets != TARGETS for one in found):
        return ONE_TARGET
    return None


def _constant(groups):
    """Returns the targets of which a seed's CCC is 0 by definition."""
    return [
        name
        for column, name in enumerate(TARGETS)
        if any(
            pair and not concordance.vary(*pair)
            for pair in (group.columns([column]) for group in groups)
        )
    ]


def _newest_state(runs, candidates):
    files = [runs / row.folder / places.STATUS for row in candidates]
    files = [file for file in files if file.is_file()]
    if not files:
        return places.NOT_RUN
    newest = max(files, key=lambda file: file.stat().st_mtime)
    return places.read_state(newest.parent)


def _alike(values):
    """Returns the value that all share, else the list of them."""
    if all(value == values[0] for value in values):
        return values[0]
    return values


def _groups(found, inside):
    """Returns all runs as one `_Runs`; where they don't fit, one each."""
    try:
        groups = [_Runs.align(found)]
    except UserError:
        groups = [_Runs.align([one]) for one in found]
    if inside:
        groups = [group.within(inside) for group in groups]
    return groups


def _scores(groups, metric, published):
    """Returns the score of each target and of their mean, over the seeds."""
    return {
        name: _over_seeds(
            groups,
            targets,
            STATISTICS[metric],
            published and getattr(published, name),
        )
        for name, targets in _TARGETS_OF.items()
    }


def _over_seeds(groups, targets, statistic, published):
    pairs = [group.columns(targets) for group in groups]
    if any(pair is None for pair in pairs):
        return None
    function = getattr(concordance, statistic)
    # [columns], those of a run side by side.
    every = [
        function(*column)
        for pair in pairs
        for column in zip(*(part.T for part in pair), strict=True)
    ]
    values = np.reshape(every, (-1, len(targets))).mean(axis=1)
    interval = holds = None
    if len(groups) == 1:
        interval = significance.interval(
            *pairs[0],
            groups[0].videos,
            statistic=statistic,
            samples=significance.SAMPLES,
            level=significance.LEVEL,
        )
    if interval and published is not None:
        holds = bool(interval.low <= published <= interval.high)
    several = len(values) > 1
    return {
        "value": float(values.mean()),
        "low": interval and interval.low,
        "high": interval and interval.high,
        "min": float(values.min()) if several else None,
        "max": float(values.max()) if several else None,
        "holds_published": holds,
    }


def _compare(rows, runs, read):
    """Tests the rows against the best; adds to the rows what comes of it.

    All at once, over the seeds that all of them have: a row that has none of
    the others', or other utterances than the best, is left out.
    """
    measured = [row for row in rows if _mean(row) is not None]
    if not measured:
        return
    best = max(measured, key=_mean)

    def found(row, seeds):
        folders = [places.place(runs, row["folder"], seed) for seed in seeds]
        return [read(folder / places.TEST) for folder in folders]

    tested, common = [best], best["seeds"]
    for row in measured:
        shared = [seed for seed in common if seed in row["seeds"]]
        if row["folder"] == best["folder"] or not shared:
            continue
        try:
            _Runs.align([*found(best, shared), *found(row, shared)])
        except UserError:
            continue
        tested.append(row)
        common = shared
    together = [one for row in tested for one in found(row, common)]
    p_values = _p_values(together, len(tested)) if len(tested) > 1 else []
    for row, values in zip(tested, p_values, strict=False):
        if row is not best:
            row |= {
                "p_value": values,
                "compared_with": best["key"],
                "compared_over": common,
            }


def _mean(row):
    measured = row.get("measured")
    return (
        measured
        and measured[protocol.MEAN]
        and measured[protocol.MEAN]["value"]
    )


def _p_values(found, rows):
    """Tests rows against the first of them.

    Args:
        found: results of the first row's seeds, then of the second's, ...
        rows: how many there are.

    Returns:
        {"valence", "arousal", "mean"} of each row; none, if all utterances
        are of one video.
    """
    runs = _Runs.align(found)
    if len(set(runs.videos)) < 2:
        return []
    p_values = [{} for _ in range(rows)]
    for name, targets in _TARGETS_OF.items():
        labels, predictions = runs.columns(targets)
        parts = np.split(predictions, rows, axis=1)
        own = labels[:, : parts[0].shape[1]]
        for values, p_value in zip(
            p_values,
            [
                1.0,  # the best, of itself
                *significance.holm(
                    [
                        significance.permutation_test(
                            own, parts[0], part, runs.videos
                        )
                        for part in parts[1:]
                    ]
                ),
            ],
            strict=True,
        ):
            values[name] = p_value
    return p_values


def _notes(table, rows):
    measured = [row for row in rows if row["state"] == MEASURED]
    notes = []
    for corpus in _corpora(measured):
        if corpus != CORPUS:
            notes.append(
                f"{corpus or 'unknown'} corpus: not comparable with the "
                "published numbers."
            )
    for row in measured:
        if row["coverage"] not in (None, 1) and row["corpus"] == CORPUS:
            notes.append(
                "Not all of the corpus' test split was there: see coverage."
            )
            break
    shared = shared_differences(rows)
    if shared:
        notes.append(f"Every measured row: {'; '.join(shared)}.")
    if measured and table.metric == "mse":
        notes.append(
            "Labels decide which utterances a region has; the paper doesn't "
            "say whether they or the predictions do."
        )
    elif measured:
        tested = [row for row in measured if "p_value" in row]
        if tested:
            best = {row["key"]: row for row in rows}[tested[0]["compared_with"]]
            seeds = ", ".join(map(str, tested[0]["compared_over"]))
            notes.append(
                "p, of valence, then of arousal: whether a row differs from "
                f"the best measured one ({name_of(best)}), by permutation "
                "tests corrected for their number (Holm), but not for the "
                f"best having been picked from the same data; seed {seeds}."
            )
        notes += [
            f"{name_of(row)}: of {' and '.join(row['constant'])} labels or "
            "predictions do not vary, so CCC is 0 by definition."
            for row in measured
            if row["constant"]
        ]
        notes.append(_NOISE)
    return notes


def _corpora(rows):
    """Returns the corpora of some rows, each once."""
    found = {}
    for row in rows:
        corpus = row["corpus"]
        found |= dict.fromkeys(corpus if isinstance(corpus, list) else [corpus])
    return list(found)


def shared_differences(rows: Sequence[dict]) -> list[str]:
    """Returns in what all measured rows differ alike from the paper's."""
    lists = [row["differences"] for row in rows if row["state"] == MEASURED]
    if not lists:
        return []
    return [text for text in lists[0] if all(text in one for one in lists)]


def name_of(row: dict) -> str:
    """Returns how a row is called in a sentence."""
    return ", ".join(filter(None, (row["label"], row["heading"])))
