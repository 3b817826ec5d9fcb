"""Evaluation: a model predicts a split, and its predictions are scored."""

import dataclasses
import json
import pathlib

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
from affwild_omg.weights import model_file


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
    kept = None
    if options.choose_postprocessing:
        kept = selection.path_to_choose(options, overwrite)
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        manifest = records.read_manifest(options.records)
        records.check_files(options.records, options.split)
        predictor = load_predictor(options.model)
        length = _sequence_length(options, predictor)
        # Before the frames are predicted, which takes its time.
        chosen = None if kept else selection.find(options, length)

        frames = _predict(options, predictor, length)
        if kept:
            chosen = selection.choose(options, frames)
        found = _results(
            frames,
            chosen,
            Provenance(
                level=options.level,
                pooling=options.pooling,
                **_of_split(options, manifest, frames),
                **_of_model(options, predictor, length),
                **selection.provenance(options, chosen),
                options=dataclasses.asdict(options),
            ),
        )
        results.write(directory, found)
        if chosen:
            selection.write(chosen, directory / results.POSTPROCESSING)
        if kept:
            selection.write(chosen, kept)
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
    with bar, records.reading(options.records, options.split):
        frames = protocol.predict_frames(
            predictor.predict, bar, predictor.targets, sequence_length
        )
    # Rounded before anything is computed, so that frames.csv gives the same.
    return dataclasses.replace(
        frames, values=[results.as_written(values) for values in frames.values]
    )


def _results(frames, chosen, provenance):
    def estimates(settings):
        return results.as_written(postprocessing.apply(settings, frames))

    nothing = Settings.nothing(frames.targets, provenance.sequence_estimate)
    bare = estimates(nothing)
    return Results(
        keys=frames.keys,
        targets=frames.targets,
        predictions=estimates(chosen.settings) if chosen else bare,
        labels=frames.utterance_labels,
        provenance=provenance,
        unprocessed=bare if chosen else None,
        frames=frames,
    )


def _of_split(options, manifest, frames):
    part = manifest["splits"][options.split]
    return {
        "corpus": manifest.get("corpus"),
        "split": options.split,
        "expected": part["expected"],
        "coverage": part["prepared"] / part["expected"],
        "utterances_without_face": int((frames.seen == 0).sum()),
        "frames": int(frames.lengths.sum()),
        "frames_with_face": int(frames.seen.sum()),
        "records_sha256": files.digest(
            pathlib.Path(options.records, records.MANIFEST)
        ),
    }


def _of_model(options, predictor, sequence_length):
    network = training = None
    if predictor.card:  # a SavedModel from elsewhere has none
        network = json.loads(predictor.card.to_json())["architecture"]
    history = pathlib.Path(options.model, model_file.HISTORY)
    if history.is_file():
        content = json.loads(history.read_text(encoding="utf-8"))
        training = content.get("options")
    return {
        "model": options.model,
        "model_sha256": selection.digest(options.model),
        "network": network,
        "training": training,
        "sequence_estimate": options.estimate,
        "sequence_length": sequence_length,
    }


def table(found: Results) -> list[str]:
    """Returns the scores of an evaluation as lines for a console."""
    headline, source = found.headline(), found.provenance
    return [
        *headline.table(),
        *(_other_protocols(found, headline) if headline.rows else ()),
        *_postprocessing(found),
        f"{int(found.labelled.sum()) or 'no'} labelled utterances of "
        f"{source.split}, {source.coverage:.1%} of the corpus' split prepared",
    ]


def _other_protocols(found, headline):
    """Returns the mean CCC by every protocol but the headline's."""
    told = []
    for level, by_pooling in found.protocols().items():
        cells = [
            _FORMS[pooling].format(wording.number(scores.mean_ccc))
            for pooling, scores in by_pooling.items()
            if scores.rows
            and (level, pooling) != (headline.level, headline.pooling)
        ]
        if cells:
            told.append(" ".join([level, *cells]))
    return [
        f"by {headline.level}, {_POOLED[headline.pooling]}; mean CCC "
        f"{wording.number(headline.mean_ccc)}",
        f"mean CCC by others, in brackets per video: {', '.join(told)}",
    ]


_FORMS = {"pooled": "{}", "per_video": "({})"}
_POOLED = {"pooled": "pooled over all", "per_video": "mean of the videos'"}


def _postprocessing(found):
    bare = found.without_postprocessing()
    if bare is None:
        return []
    scores = bare.headline()
    return [
        *selection.lines(found.provenance.postprocessing),
        *(
            f"CCC without it: {name} {wording.number(ccc)}, "
            f"{significance.LEVEL:.0%} interval {scores.interval_text(name)}"
            for name, ccc in scores.cccs.items()
        ),
    ]
