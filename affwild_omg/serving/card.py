"""The model card: what a model learned from, how well, and its limits.

`model_card.json` holds the facts, `README.md` the same for people, with the
head that Hugging Face reads. What is not known where a model is exported is
said to be unknown.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest
from affwild_omg.paper.task import TARGETS
from affwild_omg.paper.treatment import (
    DLIB,
    JPEG,
    JPEG_QUALITY,
    MEDIAPIPE,
    Treatment,
)
from affwild_omg.storage import files, remote
from affwild_omg.weights import workdir as workdirs
from affwild_omg.weights.model_file import Card

FACTS = pathlib.Path("assets.extra") / "model_card.json"
TEXT = "README.md"

# Options of a training, and parts of metrics.json, that name folders of the
# machine or repeat what stands elsewhere in the card.
_PRIVATE = {
    *("records", "workdir", "init_from", "members"),
    *("cache_features", "data_service"),
}
_ELSEWHERE = {
    *("model", "network", "options", "training", "moments", "sources"),
    *("postprocessing", "postprocessing_source", "unprocessed", "members"),
    *("predictions", "annotations", "protocols"),
}
_PERCENTILES = (0, 5, 25, 50, 75, 95, 100)
_LICENCES = {
    "code": "MIT",
    "weights": "those of the data, and of the weights that the training "
    "started from: VGG-Face's, the authors', OMG-Emotion, Aff-Wild and "
    "Aff-Wild2 are for research only",
}
_LANDMARKS = {
    DLIB: "dlib's model was trained on iBUG 300-W, whose licence excludes "
    "commercial use",
    MEDIAPIPE: "MediaPipe's model is under Apache 2.0",
}
_BODY = """
# Valence and arousal from face video

{network}, {parameters:,} parameters. From windows of {window} aligned face
crops{rate} and their 68 landmarks to {targets} for each frame, by the networks
of Kollias & Zafeiriou (2020). docs/serving.md of affwild_omg describes inputs
and outputs.

## Data

{data}

## Scores

{scores}

## Faces

Crops are 96x96 RGB pixels, aligned by five anchors of 68 landmarks (preparation
{preparation} of affwild_omg). Crops that were made otherwise give other values,
without any error. {crops}

## Use

For research on apparent affect in video: the values are what annotators would
say of a face, not what a person feels. People, cameras, cultures and situations
that the data lack are not covered by the scores.

Not for decisions about people: hiring, grading, policing, credit, insurance,
diagnosis, or finding out lies. In the European Union, Regulation (EU) 2024/1689
(the AI Act) forbids to infer emotions of people at work and in education, but
for medical or safety reasons (article 5(1)(f)). Elsewhere emotion recognition
is high-risk (annex III), and whoever is exposed to it must be told (article
50(3)).

## Licences

{licences}
"""


def facts(
    model: pathlib.Path,
    card: Card,
    parameters: int,
    metrics: Mapping | None = None,
) -> dict:
    """Collects what is known of a model.

    Args:
        model: workdir or model file.
        card: the model's.
        parameters: of its network.
        metrics: what `metrics.json` states of its evaluation.

    Returns:
        What `Card` has, and {"parameters", "training": {"options",
        "best_epoch", "best_ccc", "records_sha256", "added_sha256" (of further
        records), "started_from"} of a workdir, "labels": {target: percentiles
        of the training utterances' mean labels} where its records are at hand,
        "evaluation", "licences"}; None
        for what is not known.

    Raises:
        UserError: the metrics are of another model, or the workdir is damaged.
    """
    file = model / workdirs.BEST if model.is_dir() else model
    if metrics and metrics.get("model_sha256") != files.digest(file):
        raise UserError(
            f"--results is an evaluation of another model than {file}; give "
            "the folder that evaluate.py wrote for it"
        )
    made = (metrics or {}).get("options", {}).get("precision", "float32")
    if made != "float32":
        raise UserError(
            f"--results is an evaluation in {made}, and what is exported is "
            "float32; give one of --precision=float32"
        )
    workdir, training = workdirs.of(model), None
    # What the history tells is of the best model alone.
    last = model.name == workdirs.LAST
    history = None if last else workdirs.read_history(workdir)
    if history:
        options = {
            name: value
            for name, value in history["options"].items()
            if name not in _PRIVATE
        }
        training = {
            "options": options,
            "best_epoch": history["best_epoch"],
            "best_ccc": history["best_ccc"],
            "records_sha256": history["records_sha256"],
            "added_sha256": history.get("added_sha256", []),
            "started_from": [
                pathlib.Path(report["source"]).name
                for report in workdirs.read_initialisation(workdir)
            ],
        }
    predicted = card.treatment or Treatment()
    return {
        **dataclasses.asdict(card),
        "parameters": parameters,
        "training": training,
        "labels": _labels(history, card.architecture.targets),
        "evaluation": _evaluation(metrics),
        "licences": _LICENCES | {"landmarks": _LANDMARKS[predicted.landmarks]},
    }


def _evaluation(metrics):
    """Returns the scores of the network alone: of what is exported."""
    if not metrics:
        return None
    found = {k: x for k, x in metrics.items() if k not in _ELSEWHERE}
    return found | metrics.get("unprocessed", {})


def _labels(history, targets):
    """Returns percentiles of the training labels, if its records are here."""
    if not history:
        return None
    records = remote.path(history["options"]["records"])
    path = records / manifest.MANIFEST
    try:
        if (
            not path.is_file()
            or files.digest(path) != history["records_sha256"]
        ):
            return None
    except (UserError, OSError):  # where they are, others may have no way to
        return None
    whole = manifest.read(records).holding_out(history.get("held_out", ()))
    clips = whole.clips("train")
    found = {}
    for target in targets:
        column = TARGETS.index(target)
        values = np.array([clip.labels[column] for clip in clips])
        values = values[np.isfinite(values)]
        if len(values):
            percentiles = np.percentile(values, _PERCENTILES)
            found[target] = {"utterances": len(values)} | {
                str(rank): float(value)
                for rank, value in zip(_PERCENTILES, percentiles, strict=True)
            }
    return found


def write(saved_model: pathlib.Path, known: dict) -> None:
    """Writes `facts` as JSON and as Markdown."""
    files.write_json(saved_model / FACTS, known)
    files.write_text(saved_model / TEXT, _head(known) + _body(known))


def _head(known):
    """Returns the head that Hugging Face reads: YAML, each value as JSON."""
    head = {
        "license": "other",
        "library_name": "tensorflow",
        "tags": ["valence", "arousal", "affect", "face", "video"],
    }
    if evaluation := known["evaluation"]:
        metrics = [
            {"type": "ccc", "name": f"CCC, {target}", "value": score["ccc"]}
            for target, score in _scores(known).items()
        ]
        split = str(evaluation.get("split"))
        name = str(evaluation.get("corpus") or "records")
        result = {
            "task": {"type": "video-regression"},
            "dataset": {"type": name, "name": name, "split": split},
            "metrics": metrics,
        }
        head["model-index"] = [{"name": "affwild_omg", "results": [result]}]
    lines = (f"{key}: {json.dumps(value)}\n" for key, value in head.items())
    return f"---\n{''.join(lines)}---\n"


def _scores(known):
    found = known["evaluation"]
    return {target: found[target] for target in TARGETS if target in found}


def _body(known):
    network = known["architecture"]
    members = network.get("members", [network])
    taps = ["+".join(member["taps"]) for member in members]
    described = f"{members[0]['backbone']}, taps {', '.join(taps)}"
    if training := known["training"]:
        described = f"{training['options']['architecture']} ({described})"
    licences = known["licences"]
    treatment = known["treatment"] or dataclasses.asdict(Treatment())
    rate = treatment["max_fps"]
    return _BODY.format(
        network=described,
        parameters=known["parameters"],
        window=known["sequence_length"],
        rate=f" (at most {rate:g} a second)" if rate else "",
        targets=" and ".join(members[0]["targets"]),
        preparation=known["preparation"],
        crops=_crops(known["crops"], treatment["crop_format"]),
        data=_data(known),
        scores=_scored(known),
        licences="\n".join(f"- {k}: {text}" for k, text in licences.items()),
    )


def _data(known):
    training, labels = known["training"], known["labels"]
    if not training:
        return "Not known: the model was exported from a file alone."
    start = ", ".join(training["started_from"]) or "random weights"
    records = [training["records_sha256"], *training["added_sha256"]]
    text = (
        f"Started from {start}; best epoch {training['best_epoch']} on "
        f"validation. Manifest of the records: {', '.join(records)}."
    )
    if not labels:
        return f"{text} Their labels were not at hand at export."
    ranks = [str(rank) for rank in _PERCENTILES]
    lines = [
        f"| training labels | utterances | {' | '.join(ranks)} |",
        "|" + "---|" * (len(ranks) + 2),
    ]
    for target, found in labels.items():
        values = (wording.number(found[rank]) for rank in ranks)
        lines.append(
            f"| {target} | {found['utterances']} | {' | '.join(values)} |"
        )
    table = "\n".join(lines)
    return f"{text}\n\n{table}\n\nColumns are percentiles of utterances."


def _crops(ranges, crop_format):
    kept = ""
    if crop_format == JPEG:
        kept = (
            f" They were JPEG files of quality {JPEG_QUALITY} in training, "
            "decoded by TensorFlow's INTEGER_ACCURATE."
        )
    return _looks(ranges) + kept


def _looks(ranges):
    if not ranges:
        return "What they looked like in training is not known."
    ends = ", ".join(
        f"{name} {low:.3g} to {high:.3g}"
        for name, (low, high) in ranges.items()
    )
    return f"In training they had a median (of a video) of {ends}."


def _scored(known):
    if not (found := known["evaluation"]):
        return "Not known: no evaluation was given at export."
    intervals = found.get("intervals", {})
    lines = ["| | CCC | 95 % interval |", "|---|---|---|"]
    for target, score in _scores(known).items():
        ends = intervals.get(target)
        text = wording.interval(ends, none="none")
        lines.append(f"| {target} | {wording.number(score['ccc'])} | {text} |")
    table = "\n".join(lines)
    known = [
        f"{name}: {found[name]}"
        for name in (
            *("split", "level", "pooling", "sequence_estimate"),
            *("sequence_weights", "sequence_length", "utterances"),
            *("coverage", "frames", "frames_with_face"),
        )
        if name in found
    ]
    return f"{table}\n\nWithout post-processing. {'; '.join(known)}."
