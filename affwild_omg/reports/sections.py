"""What the sections of a report show beside what `Source` holds.

Each function gathers the values that the template of its section lays out:
{name: value}. "left_out" alone says why a section has no content.
"""

import math

import numpy as np
from absl import logging

from affwild_omg import figures
from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import sources
from affwild_omg.evaluation.options import LEVELS, POOLINGS
from affwild_omg.figures import Course, canvas
from affwild_omg.paper.task import TARGETS
from affwild_omg.published import tables
from affwild_omg.reports.source import Source
from affwild_omg.scoring import aggregation, breakdown
from affwild_omg.storage import files, remote
from affwild_omg.weights import workdir as workdirs

CROPS = 8  # of each of the worst utterances


def scores(source: Source) -> dict:
    """Gathers what stands beside the model, where it is known."""
    facts = source.results.facts
    if facts is None or not facts.trained:
        return {"beside": None}
    return {
        "beside": sources.table(source.results),
        "overlap": facts.overlap(),
    }


def protocols(source: Source) -> dict:
    """Gathers the scores at each level, pooled and video by video."""
    headline = source.results.headline
    found = {
        f"{level}, {pooling.replace('_', ' ')}": headline
        if (level, pooling) == (headline.level, headline.pooling)
        else source.results.scores(level, pooling)
        for level in LEVELS
        if level == source.results.noun or source.results.frames
        for pooling in POOLINGS
    }
    found = {name: scores for name, scores in found.items() if scores.targets}
    picture = source.draw(
        "protocols",
        figures.groups,
        list(found),
        [scores.targets for scores in found.values()],
        [scores.intervals or {} for scores in found.values()],
        source.results.targets,
    )
    return {"protocols": found, "picture": picture}


def postprocessing(source: Source) -> dict:
    """Gathers the scores without post-processing."""
    without = source.results.without_postprocessing
    return {"without": without and without.headline}


def agreement(source: Source) -> dict:
    """Gathers the points, and the histograms of the plane."""
    data = source.labelled.labels, source.labelled.predictions
    cccs, targets = source.results.scores().cccs, source.results.targets
    plane, both = None, np.isfinite(data[0]).all(axis=1)
    noun = source.results.noun
    if targets == TARGETS and both.any():
        plane = source.draw(
            *("plane", figures.plane_histograms),
            *(*(x[both] for x in data), noun),
        )
    scatter = source.draw(
        "agreement", figures.scatter, *data, targets, cccs, noun
    )
    return {"scatter": scatter, "plane": plane}


def calibration(source: Source) -> dict:
    """Gathers means and ranges of predictions and labels."""
    found = source.labelled
    data = found.labels, found.predictions
    return {"rows": breakdown.agreements(*data, found.targets)}


def regions(source: Source) -> dict:
    """Gathers the scores by region of the plane, beside the paper's."""
    if not source.groups.get("region"):
        return {"left_out": "they need labels of both valence and arousal."}
    rows = tables.TABLES["7"].rows if source.corpus == "omg" else ()
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
    names = [
        f"{group.name}\n{wording.count(group.utterances, 'utterance')}"
        for group in groups
    ]
    intervals = [
        {target: score.interval for target, score in group.scores.items()}
        for group in groups
    ]
    scores = [group.scores for group in groups]
    targets = source.results.targets
    picture = source.draw(
        f"{kind}s", figures.groups, names, scores, intervals, targets
    )
    every = [score for group in groups for score in group.scores.values()]
    return {
        "kind": kind,
        "groups": groups,
        "constant": not all(score.varies for score in every),
        "intervals": any(score.interval for score in every),
        "picture": picture,
    }


def worst(source: Source) -> dict:
    """Gathers the worst utterances: their faces and frames.

    Raises:
        UserError: their faces are asked for, and not in the records.
    """
    found = source.labelled
    known = source.utterances.dropna(subset="distance")
    if known.empty:
        return {"left_out": "no utterance has a label of each target."}
    table = known.nlargest(source.options.worst, "distance")
    faces = timelines = None
    if source.options.records:
        faces = _draw_faces(source, table)
    timed = table.index[table["seconds"].notna()] if found.frames else ()
    if len(timed):
        estimate = found.provenance.sequence_estimate
        timelines = source.draw(
            "timelines",
            figures.timelines,
            [_course(source.results, key, estimate) for key in timed],
            found.targets,
            estimate=estimate,
        )
    rows = table.to_dict("records")
    return {"rows": rows, "faces": faces, "timelines": timelines}


def _draw_faces(source, table):
    # TensorFlow, which reads the records, is slow to import.
    from affwild_omg.data import crops, manifest

    keys = table.index.tolist()
    records = manifest.read(source.options.records)
    split = source.results.provenance.split
    # That of anyone's predictions is unknown, and what a training held out is
    # in another.
    if split not in records.splits:
        split = crops.find_split(records, keys)
    found = crops.read(records, split, keys, CROPS)
    sheet = []
    for key, row in table.iterrows():
        name = canvas.shorten(f"{row['video']} / {row['utterance']}", 60)
        values = [
            f"true {target} {row[f'true_{target}']:+.2f}, predicted "
            f"{row[f'predicted_{target}']:+.2f}"
            for target in source.results.targets
        ]
        sheet.append((f"{name}\n{';  '.join(values)}", *found[key]))
    return source.draw("worst", figures.contact_sheet, sheet, columns=CROPS)


def _course(results, key, estimate):
    frames, i = results.frames, results.frames.keys.index(key)
    values, mask, times = frames.values[i], frames.mask[i], frames.times[i]
    sequences, counted = frames.sequences(i), frames.counted[i]
    estimates = [
        aggregation.sequence_estimate(values[part], counted[part], estimate)
        for part in sequences
    ]
    # How long a lone frame lasts is not known: a second shows it.
    end = frames.durations[i] or 1.0
    return Course(
        title=key,
        times=times,
        values=np.where(mask[:, None], values, np.nan),
        truth=frames.labels[i],
        edges=np.array([*(times[part.start] for part in sequences), end]),
        sequences=np.array(estimates),
        estimate=results.predictions[results.keys.index(key)],
    )


def _is_of(workdir, provenance):
    """Tells whether a workdir's best model is the one that was evaluated."""
    best = remote.path(workdir) / workdirs.BEST
    known = provenance.model_sha256
    return not known or best.is_file() and files.digest(best) == known


def network(source: Source) -> dict:
    """Gathers the epochs of the training, if they are here."""
    model = source.results.provenance.model
    try:
        history = workdirs.read_history(model) if model else None
        if history and not _is_of(model, source.results.provenance):
            logging.warning(
                "the report leaves the training out: %s was trained on since "
                "its model was evaluated",
                model,
            )
            history = None
    except UserError as error:
        logging.warning("the report leaves the training out: %s", error)
        history = None
    if history is None:
        return {"history": None}
    best = history["best_epoch"]
    epochs = [epoch for epoch in history["epochs"] if "validation" in epoch]
    validation = {epoch["epoch"]: epoch["validation"] for epoch in epochs}
    cccs = {
        target: [scores[target]["ccc"] for scores in validation.values()]
        for target in source.results.targets
    }
    cccs["mean"] = [scores["mean_ccc"] for scores in validation.values()]
    losses = [
        math.nan if epoch["loss"] is None else epoch["loss"] for epoch in epochs
    ]
    picture = source.draw(
        "training", figures.training, list(validation), losses, cccs, best
    )
    return {"history": history, "picture": picture}
