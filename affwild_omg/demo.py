"""Shows the whole path on faces that need no data set.

Draws the demo corpus, finds its faces, trains a narrow CNN-3RNN and a
control on shuffled labels, evaluates both on people neither has seen,
exports a SavedModel and predicts a video with it.
"""

import dataclasses
import json
import pathlib
import shutil
import time

from absl import flags

from affwild_omg.cli import app, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.reports.options import ReportOptions
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage.stages import FILE, Stages, files
from affwild_omg.training.options import TrainingOptions

flags.DEFINE_string(
    "directory", "checkpoints/demo", "Folder for everything the demo makes."
)

# What a narrow network takes to learn a small corpus in minutes; at full
# size and on real corpora the paper's settings are train.py's defaults.
TRAINING = {
    "width": 0.0625,
    "units": 32,
    "sequence_length": 20,
    "batch_size": 8,
    "learning_rate": 1e-3,
    "epochs": 8,
    "patience": 0,
}


def main():
    demonstrate(pathlib.Path(flags.FLAGS.directory))


def demonstrate(directory: pathlib.Path) -> None:
    """Makes what is not there yet, then shows what came out."""
    from affwild_omg.inference import video as predicting
    from affwild_omg.preparation import engine
    from affwild_omg.reports import report
    from affwild_omg.serving import saved_model
    from affwild_omg.synthetic import corpus as corpus

    start = time.monotonic()
    place = {
        name: str(directory / name)
        for name in (
            "corpus",
            "records",
            "run",
            "control",
            "validation",
            "evaluation",
            "control_evaluation",
            "report",
            "saved_model",
            "prediction",
        )
    }
    stages = Stages(directory / FILE)
    _drop_broken(corpus, pathlib.Path(place["corpus"]))
    prepared = stages.run(
        "prepare",
        engine.prepare,
        PreparationOptions(
            corpus="demo", source=place["corpus"], records=place["records"]
        ),
        ".venv/bin/python -m affwild_omg.prepare",
        whole=lambda: (
            corpus.is_complete(place["corpus"], corpus.DemoOptions())
            and _records_whole(place["records"])
        ),
    )
    trained = TrainingOptions(
        records=place["records"], workdir=place["run"], **TRAINING
    )
    made = _train(stages, "run", trained, [prepared])
    chosen = _evaluate(
        stages,
        "validation",
        EvaluationOptions(
            model=place["run"],
            records=place["records"],
            output=place["validation"],
            split="validation",
            choose_postprocessing=True,
        ),
        [prepared, made],
    )
    scored = _evaluate(
        stages,
        "evaluation",
        EvaluationOptions(
            model=place["run"],
            records=place["records"],
            output=place["evaluation"],
        ),
        [prepared, made, chosen],
    )
    stages.run(
        "report",
        report.write,
        ReportOptions(
            results=place["evaluation"],
            records=place["records"],
            output=place["report"],
        ),
        ".venv/bin/python -m affwild_omg.reporting",
        whole=files(place["report"], report.REPORT),
        of=[prepared, scored],
    )
    control = _train(
        stages,
        "control",
        # There is nothing to come: four epochs without any are enough.
        dataclasses.replace(
            trained,
            workdir=place["control"],
            shuffle_labels=True,
            patience=4,
        ),
        [prepared],
    )
    _evaluate(
        stages,
        "control_evaluation",
        EvaluationOptions(
            model=place["control"],
            records=place["records"],
            output=place["control_evaluation"],
        ),
        [prepared, control],
    )
    exported = stages.run(
        "saved_model",
        saved_model.export,
        ExportOptions(model=place["run"], output=place["saved_model"]),
        ".venv/bin/python export.py",
        whole=files(
            place["saved_model"], "saved_model.pb", "variables/variables.index"
        ),
        of=[made],
    )
    video = _longest_test_clip(corpus, place["corpus"])
    stages.run(
        "prediction",
        predicting.predict,
        PredictionOptions(
            model=place["saved_model"],
            video=str(video),
            output=place["prediction"],
        ),
        ".venv/bin/python -m affwild_omg.predict",
        whole=files(
            place["prediction"], f"{video.stem}.csv", f"{video.stem}.png"
        ),
        of=[exported],
    )
    app.show(*_summary(corpus, place, time.monotonic() - start))


def _train(stages, name, options, of):
    from affwild_omg.training import loop
    from affwild_omg.weights import model_file

    return stages.run(
        name,
        loop.train,
        options,
        ".venv/bin/python train.py",
        whole=files(options.workdir, model_file.BEST, loop.HISTORY),
        of=of,
    )


def _evaluate(stages, name, options, of):
    from affwild_omg.evaluation import evaluator, results
    from affwild_omg.weights import model_file

    # These two are there only where post-processing was chosen.
    optional = {results.UNPROCESSED, results.POSTPROCESSING}
    written = [
        pathlib.Path(options.output, file)
        for file in results.FILES
        if file not in optional
    ]
    if options.choose_postprocessing:
        written.append(pathlib.Path(options.model, model_file.POSTPROCESSING))
    return stages.run(
        name,
        evaluator.evaluate,
        options,
        ".venv/bin/python evaluate.py",
        whole=lambda: all(path.is_file() for path in written),
        of=of,
    )


def _records_whole(directory):
    from affwild_omg.data import records

    try:
        for split in records.read_manifest(directory)["splits"]:
            records.check_files(directory, split)
    except UserError:
        return False
    return True


def _drop_broken(corpus, directory):
    """Removes a demo corpus that lost a part, or is of an older version."""
    options = corpus.DemoOptions()
    if (directory / corpus.ABOUT).is_file() and not corpus.is_complete(
        directory, options
    ):
        shutil.rmtree(directory)


def _longest_test_clip(corpus, directory):
    videos = corpus.plan_corpus(corpus.DemoOptions())
    clips = [
        (utterance.frames, video.video, utterance.utterance)
        for video in videos
        if video.split == "test"
        for utterance in video.utterances
    ]
    _, video, utterance = max(clips)
    return pathlib.Path(directory, video, utterance)


def _summary(corpus, place, seconds):
    ceiling = corpus.read_ceiling(place["corpus"])
    rows = {"label ceiling": (ceiling.valence, ceiling.arousal)}
    for name, folder in (
        ("cnn_3rnn", "evaluation"),
        ("control, shuffled", "control_evaluation"),
    ):
        metrics = json.loads(
            pathlib.Path(place[folder], "metrics.json").read_text()
        )
        scores = {name: metrics}
        if "unprocessed" in metrics:
            scores["  without post-processing"] = metrics["unprocessed"]
        for label, found in scores.items():
            rows[label] = tuple(
                found[target]["ccc"] for target in ("valence", "arousal")
            )
    utterances = metrics["utterances"]
    yield ""
    yield f"{'test CCC':<28}{'valence':>9}{'arousal':>9}"
    for name, (valence, arousal) in rows.items():
        yield (
            f"{name:<28}{wording.number(valence):>9}"
            f"{wording.number(arousal):>9}"
        )
    yield f"({utterances} utterances of people not trained on)"
    yield ""
    for what, name in (
        ("clips and tables", "corpus"),
        ("aligned faces", "records"),
        ("trained model", "run"),
        ("scores, pictures", "evaluation"),
        ("report to look at", "report"),
        ("SavedModel", "saved_model"),
        ("frame by frame", "prediction"),
    ):
        yield f"{what:<20}{place[name]}"
    yield ""
    yield f"All of this took {seconds / 60:.1f} minutes. Try next:"
    yield (
        f"  .venv/bin/python -m affwild_omg.predict "
        f"--model={place['saved_model']} --video=YOUR.mp4 --output=mine"
    )
    yield f"  .venv/bin/tensorboard --logdir={place['run']}"
    yield "  .venv/bin/python train.py --help"


def run():
    app.run(main)


if __name__ == "__main__":
    run()
