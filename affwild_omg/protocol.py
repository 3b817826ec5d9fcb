"""The paper's evaluation protocol: windows of frames to scored utterances.

Frame predictions are reduced to an estimate per sequence (median or mean),
those are averaged over the utterance, and CCC is pooled over all utterances
of the split (sections 5 and 6.1).
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from affwild_omg.architectures import TARGETS
from affwild_omg.errors import UserError
from affwild_omg.scoring import aggregation, concordance, significance

INPUTS = ("frames", "landmarks", "mask")
SAMPLES = 2000  # of the bootstrap
LEVEL = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True)
class Utterances:
    """The utterances of a split with predictions, in the records' order.

    Attributes:
        keys: "<video>/<utterance>", [utterances].
        predictions: [utterances, targets].
        labels: [utterances, targets], NaN where there is none.
        frames: frames of each utterance, [utterances].
        seen: frames with a face, [utterances]; an utterance without any
            takes its prediction from its neighbours.
    """

    keys: list[str]
    predictions: np.ndarray
    labels: np.ndarray
    frames: np.ndarray
    seen: np.ndarray


def predict_utterances(
    predict: Callable[[dict], np.ndarray],
    batches: Iterable[Mapping],
    target_columns: list[int],
    *,
    estimate: str = "median",
) -> Utterances:
    """Predicts every utterance of a split.

    Args:
        predict: see `affwild_omg.model_files.Predictor.predict`.
        batches: numpy batches of windows, see `affwild_omg.data.pipeline`;
            in order, so that a clip's windows follow each other.
        target_columns: the columns of the batches' labels that are predicted.
        estimate: "median" or "mean" of each sequence.

    Raises:
        UserError: no utterance has a frame with a face.
    """
    clips = {}
    for batch in batches:
        # Not the labels, which are no business of the network's.
        predictions = predict({name: batch[name] for name in INPUTS})
        for i, raw_key in enumerate(batch["key"]):
            if not raw_key:  # an empty window that fills the last batch
                continue
            mask = batch["mask"][i]
            clip = clips.setdefault(
                raw_key.decode(), {"sequences": [], "labels": [], "seen": 0}
            )
            clip["sequences"].append(
                aggregation.sequence_estimate(predictions[i], mask, estimate)
            )
            clip["labels"].append(batch["labels"][i][: batch["length"][i]])
            clip["seen"] += int(mask.sum())
    keys = list(clips)
    if not any(clip["seen"] for clip in clips.values()):
        raise UserError(
            "not one frame has a face; prepare the records again from other "
            "videos"
        )
    labels = [np.concatenate(clips[key]["labels"]) for key in keys]
    return Utterances(
        keys=keys,
        predictions=aggregation.fill_unseen(
            [video_of(key) for key in keys],
            [
                aggregation.utterance_estimate(clips[key]["sequences"])
                for key in keys
            ],
        ),
        labels=np.stack(
            [np.mean(x[:, target_columns], axis=0, dtype=float) for x in labels]
        ),
        frames=np.array([len(x) for x in labels]),
        seen=np.array([clips[key]["seen"] for key in keys]),
    )


def video_of(key: str) -> str:
    """Returns the video of "<video>/<utterance>"."""
    return key.rsplit("/", 1)[0]


def score(utterances: Utterances, targets: tuple[str, ...]) -> dict:
    """Scores the utterances that have labels.

    Returns:
        {target: {"ccc", "pearson", "mse"}, ..., "mean_ccc"}, or {} where no
        utterance has labels.
    """
    labelled = np.isfinite(utterances.labels).all(axis=1)
    if not labelled.any():
        return {}
    scores = {}
    for column, target in enumerate(targets):
        truth = utterances.labels[labelled, column]
        predicted = utterances.predictions[labelled, column]
        scores[target] = {
            "ccc": concordance.concordance(truth, predicted),
            "pearson": concordance.pearson(truth, predicted),
            "mse": concordance.mean_squared_error(truth, predicted),
        }
    scores["mean_ccc"] = float(
        np.mean([scores[target]["ccc"] for target in targets])
    )
    return scores


def intervals(utterances: Utterances, targets: tuple[str, ...]) -> dict:
    """Says how far the CCCs of `score` can be trusted.

    Returns:
        {target: [low, high], ..., "level", "samples", "videos"}, confidence
        intervals by drawing whole videos, see
        `affwild_omg.scoring.significance.bootstrap_interval`; {} where the
        utterances with labels are of fewer than two videos.
    """
    labelled = np.isfinite(utterances.labels).all(axis=1)
    videos = [
        video_of(key)
        for key, known in zip(utterances.keys, labelled, strict=True)
        if known
    ]
    if len(set(videos)) < 2:
        return {}
    found = {
        "level": LEVEL,
        "samples": SAMPLES,
        "videos": len(set(videos)),
    }
    for column, target in enumerate(targets):
        interval = significance.bootstrap_interval(
            utterances.labels[labelled, column],
            utterances.predictions[labelled, column],
            videos,
            samples=SAMPLES,
            level=LEVEL,
        )
        found[target] = [interval.low, interval.high]
    return found


def table(metrics: dict) -> list[str]:
    """Returns what `score` and `intervals` found as lines for a console.

    Args:
        metrics: what `score` returned, "intervals" and "utterances".
    """
    lines = []
    if metrics["utterances"]:
        level = f"{LEVEL:.0%} interval of CCC"
        lines.append(f"{'':<10}{'CCC':>8}{'Pearson':>10}{'MSE':>8}  {level}")
    for target in TARGETS:
        if target in metrics:
            scores = metrics[target]
            interval = metrics["intervals"].get(target)
            lines.append(
                f"{target:<10}{scores['ccc']:>8.3f}{scores['pearson']:>10.3f}"
                f"{scores['mse']:>8.3f}  "
                + (
                    "{:.3f} to {:.3f}".format(*interval)
                    if interval
                    else "none (needs two videos by name)"
                )
            )
    return lines
