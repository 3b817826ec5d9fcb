"""What was measured of a table's rows, from the results of their runs.

Scores are computed anew from the predictions, by the paper's protocol: by
utterance and pooled (section 6.1), whatever protocol a run was scored by. A
table must compare like with like.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.experiments.differences import differences
from affwild_omg.experiments.runs import FAILED, NOT_RUN, Runs
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.published.tables import Region
from affwild_omg.scoring import significance

MEAN = protocol.MEAN
MEASURED = "measured"
OTHERS = "other system"
NO_LABELS = "no labels"
ONE_TARGET = "one target only"
CORPUS = "omg"  # the one that the paper's numbers are of
_STATISTICS = {"ccc": "concordance", "mse": "mean_squared_error"}
_NOISE = (
    "Another set of videos would move a CCC by about half its interval (with "
    "OMG's 2,229 test utterances by about 0.03): a smaller difference from a "
    "published one is within sampling noise. Another seed moves it too."
)
_REGIONS = (
    "Labels decide which utterances a region has; the paper does not say "
    "whether they or the predictions do."
)
_TESTS = (
    "p, of valence, then of arousal: whether a row differs from the best "
    "measured one ({}), by permutation tests that swap whole videos, or "
    "sources where they are known, corrected for the number of rows by Holm's "
    "method. The best one was picked from the same data, so p is somewhat too "
    "small."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """A CCC or MSE over the seeds of a row.

    Attributes:
        value: mean over the seeds.
        low, high: its interval, by drawing the same videos for all seeds; None
            where there are fewer than two videos, a constant, or seeds of
            other utterances.
        min, max: of the seeds; None where there is one alone.
    """

    value: float
    low: float | None
    high: float | None
    min: float | None
    max: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasuredRow:
    """A row of the paper and what was measured of it.

    Attributes:
        key, label, heading: those of `published.tables.Row`.
        folder: where its runs lie; None for other systems.
        state: "measured", or why there is nothing.
        published: the paper's scores, {"valence", "arousal", "mean"}; None
            where it prints none.
        published_unprocessed: without post-processing; table 3 only.
        measured: over the seeds, {target: value and interval}, of CCC also
            of "mean"; None where nothing was measured.
        unprocessed: likewise, without post-processing.
        warnings: which CCCs are 0 by definition, and why.
        seeds: those that were run.
        corpus: of the runs, each once, like what follows.
        coverage: share of the corpus' utterances that were predicted.
        records: digests of their manifests.
        utterances: how many were scored; of a region, those whose labels lie
            there.
        differences: from the paper's row, see `experiments.differences`.
        p_value: whether the row differs from the best one, over the seeds
            that both have.
        compared_with: key of the best row.
    """

    key: str
    label: str
    heading: str
    folder: str | None
    state: str = OTHERS
    published: dict[str, float] | None
    published_unprocessed: dict[str, float] | None = None
    measured: dict[str, Measured] | None = None
    unprocessed: dict[str, Measured] | None = None
    warnings: Sequence[str] = ()
    seeds: Sequence[int] = ()
    corpus: Sequence[str | None] = ()
    coverage: Sequence[float | None] = ()
    records: Sequence[str | None] = ()
    utterances: Sequence[int] = ()
    differences: Sequence[str] = ()
    p_value: dict[str, float] | None = None
    compared_with: str | None = None

    @property
    def name(self) -> str:
        """How the row is called in a sentence."""
        return ", ".join(filter(None, (self.label, self.heading)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tabulated:
    """A table of the paper with what was measured.

    Attributes:
        table: as the paper has it.
        rows: in the paper's order.
    """

    table: tables.Table
    rows: Sequence[MeasuredRow]

    @property
    def measured(self) -> list[MeasuredRow]:
        """The rows of which something was measured."""
        return [row for row in self.rows if row.state == MEASURED]

    @property
    def shared_differences(self) -> list[str]:
        """How all measured rows differ alike from the paper's."""
        first, *others = [row.differences for row in self.measured] or [()]
        return [x for x in first if all(x in other for other in others)]

    @property
    def notes(self) -> list[str]:
        """What is to be known when reading it, a sentence each."""
        return list(_notes(self))


def tabulate(name: str, runs: os.PathLike | str) -> Tabulated:
    """Measures the rows of a table.

    A row that was not run with its pre-training gives its place to runs that
    were not pre-trained. Table 4, which compares the two, is the exception.
    Runs that are being made anew are left out.

    Args:
        name: of the table.
        runs: folder of the runs.

    Raises:
        UserError: a results folder cannot be read.
    """
    table, runs = tables.TABLES[name], Runs(runs)
    rows = [_measure(table, row, runs) for row in table.rows]
    if table.metric == "ccc":  # the rows of MSE are regions of one run
        rows = _compare(rows, runs)
    return Tabulated(table=table, rows=rows)


def _measure(table, row, runs):
    """Returns a row with what was measured of it, or why there is nothing."""
    found = MeasuredRow(
        key=row.key,
        label=row.label,
        heading=row.heading,
        folder=row.folder,
        published=_triple(row.published),
        published_unprocessed=_triple(row.unprocessed),
    )
    if row.folder is None:
        return found
    candidates = [row]
    if table.name != "4":  # which has the others as rows of their own
        candidates.append(row.without_pretraining())
    for ran in candidates:
        if seeds := runs.seeds(ran):
            break
    else:
        states = [runs.state(one) for one in reversed(candidates)]
        state = next((x for x in states if x != NOT_RUN), NOT_RUN)
        return dataclasses.replace(found, state=state)
    of_seeds = [runs.read(ran.folder, seed) for seed in seeds]
    if any(one.targets != TARGETS for one in of_seeds):
        return dataclasses.replace(found, state=ONE_TARGET)
    if isinstance(row, Region):
        of_seeds = [_within(row, one) for one in of_seeds]
    if not all(np.isfinite(x.labels).any(axis=0).all() for x in of_seeds):
        return dataclasses.replace(found, state=NO_LABELS)
    differ = differences(ran, runs, seeds)
    if ran.pretraining != row.pretraining:
        differ.insert(0, "not pre-trained")
    if (state := runs.state(ran)).startswith(FAILED):
        differ.append(state)
    unprocessed = None
    if row.unprocessed:
        bare = [_bare(runs, ran, seed) for seed in seeds]
        if None not in bare:
            unprocessed = _over_seeds(bare, table.metric)
    return dataclasses.replace(
        found,
        folder=ran.folder,
        state=MEASURED,
        measured=_over_seeds(of_seeds, table.metric),
        unprocessed=unprocessed,
        warnings=_once(x for one in of_seeds for x in one.scores().warnings()),
        seeds=seeds,
        corpus=_once(one.provenance.corpus for one in of_seeds),
        coverage=_once(one.provenance.coverage for one in of_seeds),
        records=_once(one.provenance.records_sha256 for one in of_seeds),
        utterances=_once(int(one.labelled.sum()) for one in of_seeds),
        differences=differ,
    )


def _bare(runs, row, seed):
    """Returns a run without post-processing; None where that is not known.

    What was not post-processed stands for itself, unless members of it were.
    """
    found = runs.read(row.folder, seed)
    if found.unprocessed is None:
        for member, own in runs.members(row, seed):
            if own in runs.seeds(member):
                if runs.read(member.folder, own).unprocessed is not None:
                    return None
    return found.without_postprocessing or found


def _triple(scores):
    return scores and {name: getattr(scores, name) for name in (*TARGETS, MEAN)}


def _once(values):
    return list(dict.fromkeys(values))


def _within(region, found):
    """Returns results with labels only where these lie in a region."""
    inside = region.contains(*found.labels.T)
    labels = np.where(inside[:, np.newaxis], found.labels, np.nan)
    return dataclasses.replace(found, labels=labels)


def _over_seeds(of_seeds, metric):
    """Returns {target, or of CCC also the mean: `Measured`}."""
    scores = [one.scores() for one in of_seeds]
    values = [one.cccs for one in scores]
    if metric == "mse":
        values = [{k: x.mse for k, x in one.targets.items()} for one in scores]
    split, several, measured = _align(of_seeds), len(of_seeds) > 1, {}
    for name in values[0]:
        own, interval = [one[name] for one in values], None
        if split:
            interval = significance.interval(
                *_columns(split, name), statistic=_STATISTICS[metric]
            )
        measured[name] = Measured(
            value=float(np.mean(own)),
            low=interval and interval.low,
            high=interval and interval.high,
            min=min(own) if several else None,
            max=max(own) if several else None,
        )
    return measured


def _align(found):
    """Brings runs into one order; None if they are of other utterances."""
    try:
        return results.align({f"run {i}": one for i, one in enumerate(found)})
    except UserError:
        return None


def _columns(split, name):
    """Returns labels, predictions [utterances, runs x targets], and clusters.

    Args:
        split: aligned runs.
        name: a target, or `MEAN` for all of them.
    """
    targets = protocol.columns_of(split.targets)[name]
    known = np.isfinite(split.labels[:, targets]).any(axis=1)
    predictions = split.predictions[:, known][..., targets]
    labels = np.tile(split.labels[known][:, targets], len(predictions))
    predictions = np.concatenate(predictions, axis=1)
    return labels, predictions, split.clusters[known]


def _compare(rows, runs):
    """Tests each row against the best, over the seeds that both have.

    A row that has none of the best one's seeds, or other utterances, is not
    tested.

    Returns:
        The rows, with p-values corrected for their number.
    """
    measured = [row for row in rows if row.state == MEASURED]
    if not measured:
        return rows
    best = max(measured, key=lambda row: row.measured[MEAN].value)
    tested = {}
    for row in measured:
        seeds = [seed for seed in best.seeds if seed in row.seeds]
        pair = [runs.read(x.folder, y) for x in (best, row) for y in seeds]
        split = _align(pair) if pair else None
        if row is best or not split:
            continue
        if any(len(set(_columns(split, x)[2])) < 2 for x in split.targets):
            continue
        p_value = {name: _test(split, name) for name in row.measured}
        tested[row.key] = dataclasses.replace(
            row, p_value=p_value, compared_with=best.key
        )
    for name in best.measured:
        p_values = [row.p_value[name] for row in tested.values()]
        corrected = significance.holm(p_values)
        for row, p_value in zip(tested.values(), corrected, strict=True):
            row.p_value[name] = p_value
    return [tested.get(row.key, row) for row in rows]


def _test(split, name):
    """Returns the p-value of the first half of the runs against the second."""
    labels, predictions, clusters = _columns(split, name)
    first, second = np.split(predictions, 2, axis=1)
    labels = labels[:, : first.shape[1]]
    return significance.permutation_test(labels, first, second, clusters)


def _notes(tabulated):
    """Yields what is to be known when reading a table, a sentence each."""
    measured = tabulated.measured
    if tabulated.table.says:
        yield f"The paper says: {tabulated.table.says}."
    for corpus in _once(corpus for row in measured for corpus in row.corpus):
        if corpus != CORPUS:
            yield (
                f"{corpus or 'unknown'} corpus: not comparable with the "
                "published numbers."
            )
    if any(
        row.corpus == [CORPUS] and row.coverage not in ([None], [1])
        for row in measured
    ):
        yield "Not all of the corpus' test split was there: see coverage."
    if len({x for row in measured for x in row.records} - {None}) > 1:
        yield "The rows are not all of the same records."
    if shared := tabulated.shared_differences:
        yield f"Every measured row: {'; '.join(shared)}."
    if measured and tabulated.table.metric == "mse":
        yield _REGIONS
    elif measured:
        best = {row.compared_with for row in measured}
        for row in measured:
            if row.key in best:
                yield _TESTS.format(row.name)
        for row in measured:
            yield from (f"{row.name}: {warning}." for warning in row.warnings)
        yield _NOISE
