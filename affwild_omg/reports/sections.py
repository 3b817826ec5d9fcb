"""What the sections of a report show beside what `Source` holds.

Each function gathers the values that the template of its section lays out:
{name: value}. "left_out" alone says why a section has no content.
"""

from collections.abc import Iterator

import numpy as np

from affwild_omg import figures
from affwild_omg.cli import wording
from affwild_omg.evaluation.options import LEVELS, POOLINGS
from affwild_omg.evaluation.results import Results
from affwild_omg.figures import Course, canvas
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.reports.source import Source
from affwild_omg.scoring import aggregation, breakdown
from affwild_omg.scoring.significance import Interval
from affwild_omg.weights import workdir as workdirs

CROPS = 8  # of each of the worst utterances


def scores(source: Source) -> dict:
    """Gathers targets whose mean prediction lies outside all labels."""
    return {"beyond": list(_beyond(source.labelled))}


def _beyond(found: Results) -> Iterator[tuple[str, float, Interval]]:
    """Yields (target, mean prediction, ends of the labels)."""
    for target, labels, predictions in zip(
        found.targets, found.labels.T, found.predictions.T, strict=True
    ):
        if len(labels) and np.ptp(labels) and np.ptp(predictions):
            mean, ends = predictions.mean(), Interval(min(labels), max(labels))
            if not ends.low <= mean <= ends.high:
                yield target, mean, ends


def protocols(source: Source) -> dict:
    """Gathers the scores at each level, pooled and video by video."""
    headline = source.headline
    found = {
        f"{level}, {pooling.replace('_', ' ')}": headline
        if (level, pooling) == (headline.level, headline.pooling)
        else source.results.scores(level, pooling)
        for level in LEVELS
        if level == "utterance" or source.results.frames
        for pooling in POOLINGS
    }
    found = {name: scores for name, scores in found.items() if scores.targets}
    picture = source.draw(
        "protocols",
        figures.groups,
        list(found),
        [scores.targets for scores in found.values()],
        [scores.intervals or {} for scores in found.values()],
        source.targets,
    )
    return {"protocols": found, "picture": picture}


def postprocessing(source: Source) -> dict:
    """Gathers the scores without post-processing."""
    without = source.results.without_postprocessing()
    return {"without": without and without.headline()}


def agreement(source: Source) -> dict:
    """Gathers the points, and the histograms of the plane."""
    data = source.labelled.labels, source.labelled.predictions
    cccs = source.results.scores().cccs
    plane = None
    if source.targets == TARGETS:
        plane = source.draw("plane", figures.plane_histograms, *data)
    scatter = source.draw(
        "agreement", figures.scatter, *data, source.targets, cccs
    )
    return {"scatter": scatter, "plane": plane}


def calibration(source: Source) -> dict:
    """Gathers means and ranges of predictions and labels."""
    found = source.labelled
    data = found.labels, found.predictions
    return {"rows": breakdown.agreements(*data, source.targets)}


def regions(source: Source) -> dict:
    """Gathers the scores by region of the plane, beside the paper's."""
    if "region" not in source.groups:
        return {"left_out": "they need both valence and arousal."}
    rows = tables.TABLES[7].rows if source.corpus == "omg" else ()
    published = {row.heading: row.published for row in rows}
    return _groups(source, "region") | {"published": published}


def lengths(source: Source) -> dict:
    """Gathers the scores by how long an utterance lasts."""
    if "length" not in source.groups:
        return {
            "left_out": "the results folder holds no frames of these "
            "utterances, which tell how long they are."
        }
    return _groups(source, "length") | {"published": {}}


def _groups(source, kind):
    groups = source.groups[kind]
    intervals = [
        {target: score.interval for target, score in group.scores.items()}
        for group in groups
    ]
    picture = source.draw(
        f"{kind}s",
        figures.groups,
        [
            f"{group.name}\n{wording.count(group.utterances, 'utterance')}"
            for group in groups
        ],
        [group.scores for group in groups],
        intervals,
        source.targets,
    )
    scores = [score for group in groups for score in group.scores.values()]
    return {
        "kind": kind,
        "groups": groups,
        "constant": not all(score.varies for score in scores),
        "intervals": any(score.interval for score in scores),
        "picture": picture,
    }


def worst(source: Source) -> dict:
    """Gathers the worst utterances: their faces and frames.

    Raises:
        UserError: their faces are asked for, and not in the records.
    """
    known = source.utterances.dropna(subset="distance")
    worst = known.nlargest(source.options.worst, "distance")
    keys, rows = list(worst.index), worst.to_dict("records")
    faces = timelines = None
    if source.options.records:
        faces = _draw_faces(source, dict(zip(keys, rows, strict=True)))
    if timed := [key for key in keys if key in source.place]:
        estimate = source.provenance.sequence_estimate
        timelines = source.draw(
            "timelines",
            figures.timelines,
            [_course(source, key, estimate) for key in timed],
            source.targets,
            estimate=estimate,
        )
    return {"rows": rows, "faces": faces, "timelines": timelines}


def _draw_faces(source, rows):
    # TensorFlow, which reads the records, is slow to import.
    from affwild_omg.data import crops

    keys, records = list(rows), source.options.records
    # The split of anyone's predictions is unknown.
    split = source.provenance.split or crops.find_split(records, keys)
    found = crops.read(records, split, keys, CROPS)
    sheet = [(_caption(source, row), *found[key]) for key, row in rows.items()]
    return source.draw("worst", figures.contact_sheet, sheet, columns=CROPS)


def _caption(source, row):
    name = canvas.shorten(f"{row['video']} / {row['utterance']}", 60)
    values = [
        f"{target} {row[f'true_{target}']:+.2f}, predicted "
        f"{row[f'predicted_{target}']:+.2f}"
        for target in source.targets
    ]
    return f"{name}\ntrue {';  true '.join(values)}"


def _course(source, key, estimate):
    frames, i = source.results.frames, source.place[key]
    values, mask, fps = frames.values[i], frames.mask[i], frames.fps[i]
    sequences = frames.sequences(i)
    nothing = np.full(len(source.targets), np.nan)
    estimates = [
        aggregation.sequence_estimate(values[part], mask[part], estimate)
        for part in sequences
    ]
    edges = [*(part.start for part in sequences), len(mask)]
    return Course(
        title=key,
        times=np.arange(len(mask)) / fps,
        values=np.where(mask[:, None], values, np.nan),
        truth=frames.labels[i],
        edges=np.array(edges) / fps,
        sequences=np.array([nothing if x is None else x for x in estimates]),
        estimate=source.results.predictions[source.results.keys.index(key)],
    )


def network(source: Source) -> dict:
    """Gathers the epochs of the training, if they are here."""
    model = source.provenance.model
    history = workdirs.read_history(model) if model else None
    if history is None:
        return {"history": None}
    epochs, best = history["epochs"], history["best_epoch"]
    validation = {epoch["epoch"]: epoch["validation"] for epoch in epochs}
    cccs = {
        target: [scores[target]["ccc"] for scores in validation.values()]
        for target in source.targets
    }
    cccs["mean"] = [scores["mean_ccc"] for scores in validation.values()]
    losses = [epoch["loss"] for epoch in epochs]
    picture = source.draw(
        "training", figures.training, list(validation), losses, cccs, best
    )
    return {"history": history, "picture": picture}
