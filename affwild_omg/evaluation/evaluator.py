"""Evaluation: a model and the records of a split become scored tables."""

import dataclasses
import json

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data import pipeline, records
from affwild_omg.evaluation import protocol, results, selection
from affwild_omg.inference.predictor import load_predictor
from affwild_omg.scoring import aggregation, postprocessing
from affwild_omg.storage import files


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What an evaluation is made of; evaluate.py's flags.

    Attributes:
        model: workdir, model file or SavedModel.
        records: folder that prepare wrote.
        output: folder for metrics, predictions, labels and pictures.
        split: "train", "validation" or "test".
        level: what the headline scores compare, one of `protocol.LEVELS`.
        pooling: how, one of `protocol.POOLINGS`.
        estimate: "median" or "mean" of a sequence's frames.
        postprocessing: file of the steps to apply; "" takes the workdir's if
            it has one, "none" applies nothing.
        choose_postprocessing: choose the steps on this split, which must be
            validation, and write them to that file.
        sequence_length: frames a window; 0 takes the model's own.
        batch_size: windows at a time.
    """

    model: str
    records: str
    output: str
    split: str = "test"
    level: str = "utterance"
    pooling: str = "pooled"
    estimate: str = "median"
    postprocessing: str = ""
    choose_postprocessing: bool = False
    sequence_length: int = 0
    batch_size: int = 4

    def __post_init__(self):
        for name, vocabulary in (
            ("estimate", aggregation.ESTIMATES),
            ("level", protocol.LEVELS),
            ("pooling", protocol.POOLINGS),
        ):
            if getattr(self, name) not in vocabulary:
                raise UserError(
                    f"--{name} must be one of {', '.join(vocabulary)}, not "
                    f"{getattr(self, name)!r}"
                )
        if self.batch_size < 1 or self.sequence_length < 0:
            raise UserError(
                "--batch_size must be at least 1 and --sequence_length 0 "
                f"(the model's own) or more, not {self.batch_size} and "
                f"{self.sequence_length}"
            )
        if self.choose_postprocessing and self.split != "validation":
            raise UserError(
                "--choose_postprocessing goes with --split=validation, not "
                f"{self.split}: steps must not be chosen on what is scored"
            )


def evaluate(options: Options, *, overwrite: bool = False) -> dict:
    """Evaluates a model on a split.

    Writes a results folder, see `evaluation.results`: the scores are those of
    its tables as they stand there.

    Args:
        options: what and where.
        overwrite: replace results, and chosen steps, that are there.

    Returns:
        What goes into metrics.json: for each target CCC, Pearson's r and its
        p-value, and MSE, by the level and pooling of the options, their mean
        CCC, the CCCs' confidence intervals, all that by the other "protocols"
        and without post-processing ("unprocessed"), and what it was computed
        from.

    Raises:
        UserError: the model, the records, the post-processing or the output
            can't be used.
    """
    steps_path = _check_place(options, overwrite)
    with files.atomic_directory(
        options.output,
        flag="--output",
        overwrite=overwrite,
        owned=results.FILES,
    ) as directory:
        manifest = records.read_manifest(options.records)
        part = manifest["splits"].get(options.split)
        records.check_files(options.records, options.split)
        predictor = load_predictor(options.model)
        sequence_length = _sequence_length(options, predictor)
        chosen = None
        if not options.choose_postprocessing:
            chosen = selection.find(
                options.model,
                options.postprocessing,
                estimate=options.estimate,
                sequence_length=sequence_length,
            )
        frames = _predict(options, predictor, sequence_length)
        if options.choose_postprocessing:
            chosen = selection.choose(
                frames, model=options.model, estimate=options.estimate
            )
        nothing = postprocessing.Settings.nothing(
            frames.targets, options.estimate
        )
        settings = chosen.settings if chosen else nothing
        protocols = _assess(frames, settings)
        metrics = protocols[options.level][options.pooling] | {
            "utterances": protocols["utterance"]["pooled"]["rows"],
            "coverage": part["prepared"] / part["expected"],
            "expected": part["expected"],
            "utterances_without_face": int((frames.seen == 0).sum()),
            "frames": int(frames.lengths.sum()),
            "frames_with_face": int(frames.seen.sum()),
            "corpus": manifest.get("corpus"),
            "split": options.split,
            "level": options.level,
            "pooling": options.pooling,
            "moments": protocol.MOMENTS,
            "sequence_estimate": options.estimate,
            "sequence_length": sequence_length,
            "model": options.model,
            "network": _network(predictor),
            "postprocessing": settings.to_dict() if chosen else None,
            "protocols": protocols,
        }
        if chosen:
            metrics["postprocessing_source"] = selection.source(
                options.model, options.postprocessing, chosen
            )
            metrics["unprocessed"] = protocol.assess(
                _rows(frames, nothing, options.level),
                frames.targets,
                options.pooling,
            )
            selection.write(chosen, directory / results.POSTPROCESSING)
        results.write(
            directory,
            results.Results(
                keys=frames.keys,
                targets=frames.targets,
                predictions=_estimates(frames, settings),
                labels=frames.utterance_labels,
                metrics=metrics,
                unprocessed=_estimates(frames, nothing) if chosen else None,
            ),
            frames,
        )
        if options.choose_postprocessing:
            selection.write(chosen, steps_path)
    return metrics


def _check_place(options, overwrite):
    """Returns where the steps that are to be chosen go."""
    if not options.choose_postprocessing:
        return None
    path = selection.place(options.model, options.postprocessing)
    if path is None:
        raise UserError(
            f"--choose_postprocessing has no workdir in --model="
            f"{options.model} to write the steps to; name a file: "
            "--postprocessing=steps.json"
        )
    if path.exists() and not overwrite:
        raise UserError(
            f"--choose_postprocessing would replace {path}; give --overwrite "
            "to choose again, or leave it out to apply what is there"
        )
    return path


def _network(predictor):
    """Returns the network as the model's card has it, None without one."""
    if predictor.card is None:
        return None
    return json.loads(predictor.card.to_json())["architecture"]


def _estimates(frames, settings):
    return results.as_written(postprocessing.apply(settings, frames))


def _assess(frames, settings):
    """Returns {level: {pooling: scores}}."""
    assessed = {}
    for level in protocol.LEVELS:
        rows = _rows(frames, settings, level)
        assessed[level] = {
            pooling: protocol.assess(rows, frames.targets, pooling)
            for pooling in protocol.POOLINGS
        }
    return assessed


def _rows(frames, settings, level):
    rows = protocol.rows_of(frames, settings, level)
    return dataclasses.replace(
        rows, predictions=results.as_written(rows.predictions)
    )


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
    # Rounded before anything is computed: so frames.csv gives the same.
    return dataclasses.replace(
        frames, values=[results.as_written(values) for values in frames.values]
    )


def table(metrics: dict) -> list[str]:
    """Returns the metrics as lines for a console."""
    return [
        *protocol.table(metrics),
        *_other_protocols(metrics),
        *_postprocessing(metrics),
        f"{metrics['utterances'] or 'no'} labelled utterances of "
        f"{metrics['split']}, {metrics['coverage']:.1%} of the corpus' split "
        "prepared",
    ]


def _other_protocols(metrics):
    """Returns the mean CCC by every protocol but the headline's."""
    if not metrics["rows"]:
        return []
    told = []
    for level, by_pooling in metrics["protocols"].items():
        cells = [
            _FORMS[pooling].format(wording.number(found["mean_ccc"]))
            for pooling, found in by_pooling.items()
            if "mean_ccc" in found
            and (level, pooling) != (metrics["level"], metrics["pooling"])
        ]
        if cells:
            told.append(" ".join([level, *cells]))
    return [
        f"by {metrics['level']}, {_POOLED[metrics['pooling']]}; mean CCC "
        f"{wording.number(metrics['mean_ccc'])}",
        f"mean CCC by others, in brackets per video: {', '.join(told)}",
    ]


_FORMS = {"pooled": "{}", "per_video": "({})"}
_POOLED = {"pooled": "pooled over all", "per_video": "mean of the videos'"}


def _postprocessing(metrics):
    if not metrics["postprocessing"]:
        return []
    settings = postprocessing.Settings.from_dict(metrics["postprocessing"])
    lines = [f"post-processing of {x}" for x in selection.table(settings)]
    bare = metrics["unprocessed"]
    if metrics["rows"]:
        cccs = {name: bare[name]["ccc"] for name in settings.targets}
        if len(cccs) > 1:
            cccs["mean"] = bare["mean_ccc"]
        lines += [
            f"CCC without it: {name} {wording.number(ccc)}, "
            f"{protocol.LEVEL:.0%} interval "
            f"{protocol.interval_text(bare, name)}"
            for name, ccc in cccs.items()
        ]
    return lines
