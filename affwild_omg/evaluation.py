"""Evaluation: a model and the records of a split become scored tables."""

import dataclasses

import numpy as np

from affwild_omg import (
    architectures,
    model_files,
    outputs,
    progress,
    protocol,
    results,
)
from affwild_omg.data import pipeline, records
from affwild_omg.errors import UserError
from affwild_omg.scoring import aggregation


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What an evaluation is made of; evaluate.py's flags.

    Attributes:
        model: workdir, model file or SavedModel.
        records: folder that prepare wrote.
        output: folder for metrics, predictions, labels and pictures.
        split: "train", "validation" or "test".
        estimate: "median" or "mean" of a sequence's frames.
        sequence_length: frames a window; 0 takes the model's own.
        batch_size: windows at a time.
    """

    model: str
    records: str
    output: str
    split: str = "test"
    estimate: str = "median"
    sequence_length: int = 0
    batch_size: int = 4

    def __post_init__(self):
        if self.estimate not in aggregation.ESTIMATES:
            raise UserError(
                f"--estimate must be one of "
                f"{', '.join(aggregation.ESTIMATES)}, not {self.estimate!r}"
            )
        if self.batch_size < 1 or self.sequence_length < 0:
            raise UserError(
                "--batch_size must be at least 1 and --sequence_length 0 "
                f"(the model's own) or more, not {self.batch_size} and "
                f"{self.sequence_length}"
            )


def evaluate(options: Options, *, overwrite: bool = False) -> dict:
    """Evaluates a model on a split.

    Writes a results folder, see `affwild_omg.results`: the scores are those of
    predictions.csv against labels.csv as they stand there.

    Args:
        options: what and where.
        overwrite: replace results that are there.

    Returns:
        What goes into metrics.json: for each target CCC, Pearson's r and MSE
        over all utterances with labels, their mean CCC, the CCCs' confidence
        intervals, and what all that was computed from.

    Raises:
        UserError: the model, the records or the output can't be used.
    """
    with outputs.whole_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        part = records.read_manifest(options.records)["splits"].get(
            options.split
        )
        records.check_files(options.records, options.split)
        predictor = model_files.load_predictor(options.model)
        sequence_length = _sequence_length(options, predictor)
        utterances = _predict(options, predictor, sequence_length)
        metrics = protocol.score(utterances, predictor.targets) | {
            "intervals": protocol.intervals(utterances, predictor.targets),
            "utterances": int(np.isfinite(utterances.labels).all(1).sum()),
            "coverage": part["prepared"] / part["expected"],
            "expected": part["expected"],
            "utterances_without_face": int((utterances.seen == 0).sum()),
            "frames": int(utterances.frames.sum()),
            "frames_with_face": int(utterances.seen.sum()),
            "split": options.split,
            "level": "utterance",
            "sequence_estimate": options.estimate,
            "sequence_length": sequence_length,
            "model": options.model,
        }
        results.write(
            directory,
            results.Results(
                keys=utterances.keys,
                targets=predictor.targets,
                predictions=utterances.predictions,
                labels=utterances.labels,
                metrics=metrics,
            ),
        )
    return metrics


def _sequence_length(options, predictor):
    length = options.sequence_length or (
        predictor.card.sequence_length if predictor.card else 0
    )
    if not length:
        raise UserError(
            f"--model={options.model} does not say how long its sequences "
            "are; give --sequence_length"
        )
    return length


def _predict(options, predictor, sequence_length):
    batches = pipeline.batches(
        pipeline.windows(
            options.records, options.split, sequence_length=sequence_length
        ),
        options.batch_size,
    )
    windows = pipeline.count_windows(
        options.records, options.split, sequence_length
    )
    bar = progress.bar(
        batches.as_numpy_iterator(),
        description=f"evaluating {options.split}",
        unit="batch",
        total=-(-windows // options.batch_size),
    )
    columns = [architectures.TARGETS.index(name) for name in predictor.targets]
    with bar, records.reading(options.records, options.split):
        utterances = protocol.predict_utterances(
            predictor.predict, bar, columns, estimate=options.estimate
        )
    return dataclasses.replace(
        utterances, predictions=results.as_written(utterances.predictions)
    )


def table(metrics: dict) -> list[str]:
    """Returns the metrics as lines for a console."""
    return [
        *protocol.table(metrics),
        f"{metrics['utterances'] or 'no'} labelled utterances of "
        f"{metrics['split']}, {metrics['coverage']:.1%} of the corpus' split "
        "prepared",
    ]
