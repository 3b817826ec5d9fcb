"""Evaluation: a model predicts a split, and its predictions are scored."""

import dataclasses
import json

import numpy as np
from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data import manifest, pipeline
from affwild_omg.evaluation import (
    groups,
    protocol,
    results,
    selection,
    sources,
)
from affwild_omg.evaluation.options import POOLED, EvaluationOptions
from affwild_omg.evaluation.results import Provenance, Results
from affwild_omg.inference.predictor import default_strategy, load_predictor
from affwild_omg.scoring import aggregation, postprocessing
from affwild_omg.scoring.conformal import HalfWidths
from affwild_omg.scoring.postprocessing import Settings
from affwild_omg.weights import model_file
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
    file = selection.file_of(options, overwrite=overwrite)
    with results.folder(options.output, overwrite=overwrite) as directory:
        # What cannot be used is told before the prediction, which takes long.
        history = workdirs.read_history(workdirs.of(options.model)) or {}
        records = manifest.read(options.records)
        if not history and "validation" not in records.splits:
            logging.warning(
                "--model=%s does not tell what its training held out of train, "
                "if anything; its workdir would",
                options.model,
            )
        records = records.holding_out(history.get("held_out", ()))
        records.check(options.split)
        facts = sources.Facts.of_records(records, options.split)
        grouped = None
        if options.groups:
            grouped = groups.Groups.read(
                options.groups, facts.table.index.tolist()
            )
        predictor = load_predictor(
            options.model,
            precision=options.precision,
            runtime=options.runtime,
            strategy=default_strategy(),
        )
        records.compare(
            predictor.card and predictor.card.treatment,
            f"--model={options.model}",
            other_landmarks=options.other_landmarks,
        )
        source = _provenance(options, records, predictor, history)
        trained_on = history.get("records_sha256", source.records_sha256)
        if facts.trained and trained_on != source.records_sha256:
            logging.warning(
                "--model=%s was trained on other records; what stands in "
                "train, and its labels, are those of --records=%s",
                *(options.model, options.records),
            )
        if history.get("added_sha256"):
            logging.warning(
                "--model=%s was trained on further records, too; what stands "
                "in train, and its labels, are those of --records=%s alone",
                *(options.model, options.records),
            )
        chosen = None
        if options.choose_postprocessing:
            deciding = sources.choose_of_records(
                records, predictor.targets, options.validation
            )
        else:
            chosen = selection.find(
                *(options, file, source.sequence_length, source.tail),
                source.level,
            )
        frames = _predict(options, records, predictor, source)
        if options.choose_postprocessing:
            chosen = selection.choose(options, frames, deciding, source.level)
        if chosen:
            source = dataclasses.replace(
                source,
                postprocessing=chosen.settings,
                postprocessing_source={
                    "file": str(file),
                    "same_model": chosen.same_model(options.model),
                },
            )
            chosen.write(directory / workdirs.POSTPROCESSING)
        found = _score(frames, source, facts.of(frames.keys), grouped)
        widths = _half_widths(found, predictor.card)
        if widths:
            found = _with(found, widths)
        results.write(directory, found)
        if (
            widths
            and options.split == "validation"
            and options.precision == "float32"  # what is measured, and runs
            and trained_on == source.records_sha256
            and _estimate(source) == {"by": "median", "weights": "equal"}
        ):
            model_file.write_half_widths(
                options.model, widths, source.model_sha256
            )
        if options.choose_postprocessing:
            chosen.write(file)
    return found


def _half_widths(found, card):
    """Returns validation's own, else those of the card; None without any."""
    source = found.provenance
    if not card or source.sequence_length != card.sequence_length:
        return None  # not as it predicts
    if source.split != "validation":
        return card.half_widths
    widths = HalfWidths.measure(
        found.frames, found.clusters, **_estimate(source)
    )
    # Of too few sources there are none.
    return widths if any(widths.frame.values()) else None


def _with(found, widths):
    """States the half-widths, and what lies within those of another split."""
    source, inside = found.provenance, None
    if source.split != "validation":
        inside = widths.inside(
            found.frames, found.clusters, **_estimate(source)
        )
    source = dataclasses.replace(
        source, half_widths=dataclasses.asdict(widths), within=inside
    )
    return dataclasses.replace(found, provenance=source)


def _estimate(source):
    return {
        "by": source.sequence_estimate,
        "weights": source.sequence_weights,
    }


def _provenance(options, records, predictor, history):
    """Returns what is known before the prediction."""
    expected = coverage = None
    card, clips = predictor.card, records.clips(options.split)
    part = records.content["splits"].get(options.split)
    # The whole split, of which the training held out nothing.
    if part and part["prepared"] == len(clips):
        expected = part["expected"]
        coverage = part["prepared"] / expected
    # A SavedModel from elsewhere has no card.
    length = options.sequence_length or (card.sequence_length if card else 0)
    if not length:
        raise UserError(
            f"--model={options.model} does not say how long its sequences "
            "are; give --sequence_length"
        )
    by_frame = manifest.labels_vary(clips, predictor.targets)
    return Provenance(
        level=options.level or ("frame" if by_frame else "utterance"),
        pooling=options.pooling,
        corpus=records.content.get("corpus"),
        split=options.split,
        expected=expected,
        coverage=coverage,
        records_sha256=records.digest,
        model=options.model,
        model_sha256=model_file.digest(options.model),
        network=json.loads(card.to_json())["architecture"] if card else None,
        training=history.get("options"),
        options=dataclasses.asdict(options),
        sequence_estimate=options.estimate,
        sequence_weights=options.sequence_weights,
        sequence_length=length,
        tail=card.tail if card else "pad",
    )


def _predict(options, records, predictor, source):
    cut = {"sequence_length": source.sequence_length, "tail": source.tail}
    windows = pipeline.windows(records.clips(options.split), **cut)
    batches = pipeline.batches(windows, options.batch_size)
    bar = progress.bar(
        batches.as_numpy_iterator(),
        description=f"evaluating {options.split}",
        unit="batch",
        total=-(-len(windows) // options.batch_size),
    )
    with bar, records.reading(options.split):
        frames = protocol.predict_frames(
            predictor.predict, bar, predictor.targets, **cut
        )
    # Rounded before anything is computed, so that frames.csv gives the same.
    return dataclasses.replace(
        frames, values=[results.as_written(values) for values in frames.values]
    )


def _score(frames, source, facts, grouped):
    steps = source.postprocessing
    nothing = Settings.nothing(
        frames.targets, source.sequence_estimate, source.sequence_weights
    )
    predictions, bare = (
        results.as_written(postprocessing.apply(settings, frames))
        for settings in (steps or nothing, nothing)
    )
    return Results(
        keys=frames.keys,
        targets=frames.targets,
        predictions=predictions,
        # As in the records: more digits would be those of rounding.
        labels=aggregation.utterance_labels(frames).astype(np.float32),
        provenance=dataclasses.replace(
            source,
            utterances_without_face=int((frames.seen == 0).sum()),
            frames=int(frames.lengths.sum()),
            frames_with_face=int(frames.seen.sum()),
        ),
        unprocessed=bare if steps else None,
        frames=frames,
        facts=facts,
        groups=grouped and grouped.of(frames.keys),
    )


def table(found: Results) -> list[str]:
    """Returns the scores of an evaluation as lines for a console."""
    source = found.provenance
    lines = found.headline.table()
    if bare := found.without_postprocessing:
        for target, steps in source.postprocessing.targets.items():
            lines.append(f"post-processing of {target}: {_text(steps)}")
        scores = bare.headline
        lines += [
            f"CCC without it: {name} {wording.number(ccc)}, "
            f"{protocol.INTERVAL_NAME} {scores.interval_text(name)}"
            for name, ccc in scores.cccs.items()
        ]
    share = "what the training held out of train"
    if source.coverage is not None:
        share = f"{source.coverage:.1%} of the corpus' split prepared"
    elif source.split == "train":
        share = "without what the training held out"
    by = source.level
    if by == "frame" and source.options["level"] is None:
        by += ", because labels differ within a clip"
    return [
        *lines,
        *_sureness(source),
        *sources.lines(found),
        *groups.lines(found),
        f"{wording.count(int(found.labelled.sum()), 'labelled utterance')} of "
        f"{source.split}, {share}; "
        f"scored by {by}, CCC {POOLED[source.pooling]}",
    ]


def _sureness(source):
    """Yields how sure predictions are, for a console."""
    widths = source.half_widths
    if not widths:
        return
    share, values = f"{widths['coverage']:.0%}", source.within or widths
    found = "; ".join(
        f"{target} {wording.number(values['frame'][target])} by frame, "
        f"{wording.number(values['utterance'][target])} by utterance"
        for target in values["frame"]
    )
    if source.within:
        yield f"share within the half-widths of validation ({share}): {found}"
    else:
        yield f"half-widths of a prediction ({share}): {found}"


def _text(steps):
    used = []
    if steps.median_window > 1:
        used.append(f"median over {steps.median_window} frames")
    if steps.smoothing_strength > 0:
        used.append(f"smoothing of {steps.smoothing_strength:g} frames")
    return ", ".join(used) or "no step raised CCC on validation"
