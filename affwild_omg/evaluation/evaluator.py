"""Evaluation: a model predicts a split, and its predictions are scored."""

import dataclasses
import json

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data import pipeline, records
from affwild_omg.evaluation import protocol, results, selection
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.inference.predictor import load_predictor
from affwild_omg.scoring import postprocessing, significance
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.storage import files
from affwild_omg.weights import workdir as workdirs


def evaluate(options: EvaluationOptions, *, overwrite: bool = False) -> Results:
    """Evaluates a model on a split.

    Writes a results folder, see `evaluation.results`.

    Args:
        options: what and where.
        overwrite: replace results, and chosen steps, that are there.

    Raises:
        UserError: the model, the records, the post-processing or the output
            cannot be used.
    """
    kept = selection.path_to_choose(options, overwrite)
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        records.check_files(options.records, options.split)
        predictor = load_predictor(options.model)
        length = _sequence_length(options, predictor)
        # Before the frames are predicted, which takes its time.
        chosen = None if kept else selection.find(options, length)

        frames = _predict(options, predictor, length)
        if kept:
            chosen = selection.choose(options, frames)
        provenance = _provenance(options, predictor.card, frames, chosen)
        found = _score(frames, provenance)
        results.write(directory, found)
        if chosen:
            chosen.write(directory / workdirs.POSTPROCESSING)
        if kept:
            chosen.write(kept)
    return found


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


def _predict(options, predictor, length):
    where = (options.records, options.split)
    batches = pipeline.batches(
        pipeline.windows(*where, sequence_length=length), options.batch_size
    )
    windows = pipeline.count_windows(*where, length)
    bar = progress.bar(
        batches.as_numpy_iterator(),
        description=f"evaluating {options.split}",
        unit="batch",
        total=-(-windows // options.batch_size),
    )
    with bar, records.reading(*where):
        frames = protocol.predict_frames(
            predictor.predict, bar, predictor.targets, length
        )
    # Rounded before anything is computed, so that frames.csv gives the same.
    return dataclasses.replace(
        frames, values=[results.as_written(values) for values in frames.values]
    )


def _provenance(options, card, frames, chosen):
    manifest = records.read_manifest(options.records)
    part = manifest["splits"][options.split]
    history = workdirs.read_history(options.model) or {}
    return Provenance(
        level=options.level,
        pooling=options.pooling,
        corpus=manifest.get("corpus"),
        split=options.split,
        expected=part["expected"],
        coverage=part["prepared"] / part["expected"],
        utterances_without_face=int((frames.seen == 0).sum()),
        frames=int(frames.lengths.sum()),
        frames_with_face=int(frames.seen.sum()),
        records_sha256=records.digest(options.records),
        model=options.model,
        model_sha256=selection.digest(options.model),
        # A SavedModel from elsewhere has no card.
        network=json.loads(card.to_json())["architecture"] if card else None,
        training=history.get("options"),
        options=dataclasses.asdict(options),
        sequence_estimate=options.estimate,
        sequence_length=frames.sequence_length,
        postprocessing=chosen.settings if chosen else None,
        postprocessing_source=selection.source(options, chosen)
        if chosen
        else None,
    )


def _score(frames, provenance):
    steps = provenance.postprocessing
    nothing = Settings.nothing(frames.targets, provenance.sequence_estimate)
    predictions, bare = (
        results.as_written(postprocessing.apply(settings, frames))
        for settings in (steps or nothing, nothing)
    )
    return Results(
        keys=frames.keys,
        targets=frames.targets,
        predictions=predictions,
        labels=frames.utterance_labels,
        provenance=provenance,
        unprocessed=bare if steps else None,
        frames=frames,
    )


def table(found: Results) -> list[str]:
    """Returns the scores of an evaluation as lines for a console."""
    headline, source = found.headline(), found.provenance
    lines = headline.table()
    if headline.rows:
        lines += _protocols(found, headline)
    if bare := found.without_postprocessing():
        scores = bare.headline()
        lines += selection.lines(source.postprocessing)
        lines += [
            f"CCC without it: {name} {wording.number(ccc)}, "
            f"{significance.LEVEL:.0%} interval {scores.interval_text(name)}"
            for name, ccc in scores.cccs.items()
        ]
    return [
        *lines,
        f"{found.labelled.sum() or 'no'} labelled utterances of "
        f"{source.split}, {source.coverage:.1%} of the corpus' split prepared",
    ]


_FORMS = {"pooled": "{}", "per_video": "({})"}
_POOLED = {"pooled": "pooled over all", "per_video": "mean of the videos'"}


def _protocols(found, headline):
    """Returns the headline's protocol, and the mean CCC by every other."""
    own = (headline.level, headline.pooling)
    others = []
    for level, by_pooling in found.protocols().items():
        cells = [
            _FORMS[pooling].format(wording.number(scores.mean_ccc))
            for pooling, scores in by_pooling.items()
            if scores.rows and (level, pooling) != own
        ]
        if cells:
            others.append(" ".join([level, *cells]))
    return [
        f"by {headline.level}, {_POOLED[headline.pooling]}; mean CCC "
        f"{wording.number(headline.mean_ccc)}",
        f"mean CCC by others, in brackets per video: {', '.join(others)}",
    ]
