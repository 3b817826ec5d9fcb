"""Shows the whole path on faces that need no data set.

Draws the demo corpus, finds its faces, trains a narrow CNN-3RNN and a
control on shuffled labels, evaluates both on made-up people that neither has
seen (all are made from two portraits), exports a SavedModel and predicts a
video with it.
"""

import pathlib
import time
from collections.abc import Iterator

from absl import flags

from affwild_omg.cli import app, wording
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.paper.task import TARGETS
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.reports.options import ReportOptions
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage.stages import FILE, Stage, Stages
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
_PYTHON = ".venv/bin/python"


def demo():
    start = time.monotonic()
    directory = pathlib.Path(flags.FLAGS.directory)
    stages = Stages(directory / FILE)
    for stage in list_stages(directory):
        stages.run(**stage._asdict())
    app.show(*_summary(directory, (time.monotonic() - start) / 60))


def list_stages(directory: pathlib.Path) -> list[Stage]:
    """Lists the demo's stages, each after those whose outputs it reads."""
    from affwild_omg.evaluation import evaluator
    from affwild_omg.inference import video
    from affwild_omg.preparation import engine
    from affwild_omg.reports import report
    from affwild_omg.serving import saved_model
    from affwild_omg.synthetic import corpus, plan
    from affwild_omg.training import loop
    from affwild_omg.weights import workdir as workdirs

    def at(*names):
        return str(directory.joinpath(*names))

    def stage(name, function, options, command, inputs, outputs):
        return Stage(
            name,
            function,
            options,
            command=command and f"{_PYTHON} {command}",
            inputs=[at(path) for path in inputs],
            outputs=[at(path) for path in outputs],
        )

    def train(name, **settings):
        options = TrainingOptions(
            records=at("records"), workdir=at(name), **TRAINING | settings
        )
        outputs = [f"{name}/{workdirs.BEST}", f"{name}/{workdirs.HISTORY}"]
        return stage(
            name, loop.train, options, "train.py", ["records"], outputs
        )

    def evaluate(name, workdir, inputs=(), outputs=(), **settings):
        return stage(
            name,
            evaluator.evaluate,
            EvaluationOptions(
                model=at(workdir),
                records=at("records"),
                output=at(name),
                **settings,
            ),
            "evaluate.py",
            ["records", f"{workdir}/{workdirs.BEST}", *inputs],
            [name, *outputs],
        )

    steps = f"run/{workdirs.POSTPROCESSING}"
    choosing = {"split": "validation", "choose_postprocessing": True}
    # The longest clip of the test split.
    _, *clip = max(
        (utterance.frames, video.video, utterance.utterance)
        for video in plan.plan_corpus()
        if video.split == "test"
        for utterance in video.utterances
    )
    return [
        stage(
            "corpus",
            corpus.write_corpus,
            corpus.CorpusOptions(directory=at("corpus")),
            None,
            [],
            ["corpus"],
        ),
        stage(
            "records",
            engine.prepare,
            PreparationOptions(
                corpus="omg", source=at("corpus"), records=at("records")
            ),
            "-m affwild_omg.prepare",
            ["corpus"],
            ["records"],
        ),
        train("run"),
        evaluate("validation", "run", outputs=[steps], **choosing),
        evaluate("evaluation", "run", inputs=[steps]),
        stage(
            "report",
            report.write,
            ReportOptions(
                results=at("evaluation"),
                records=at("records"),
                output=at("report"),
            ),
            "-m affwild_omg.reporting",
            ["evaluation", "records"],
            ["report"],
        ),
        # There is nothing to come: four epochs without any are enough.
        train("control", shuffle_labels=True, patience=4),
        evaluate("control_evaluation", "control"),
        stage(
            "saved_model",
            saved_model.export,
            ExportOptions(model=at("run"), output=at("saved_model")),
            "export.py",
            [f"run/{workdirs.BEST}"],
            ["saved_model"],
        ),
        stage(
            "prediction",
            video.predict,
            PredictionOptions(
                model=at("saved_model"),
                video=at("corpus", *clip),
                output=at("prediction"),
            ),
            "-m affwild_omg.predict",
            ["saved_model", "/".join(["corpus", *clip])],
            ["prediction"],
        ),
    ]


def _summary(directory: pathlib.Path, minutes: float) -> Iterator[str]:
    from affwild_omg.evaluation import results
    from affwild_omg.synthetic import plan

    rows = {"label ceiling": plan.measure_ceiling(plan.plan_corpus())}
    for name, folder in (
        ("cnn_3rnn", "evaluation"),
        ("control, shuffled", "control_evaluation"),
    ):
        found = results.read(directory / folder, flag="--directory")
        rows[name] = found.scores().cccs
        if bare := found.without_postprocessing():
            rows["  without post-processing"] = bare.scores().cccs
    yield ""
    yield from Table(
        ["test CCC", *TARGETS],
        [
            [name, *(wording.number(cccs[target]) for target in TARGETS)]
            for name, cccs in rows.items()
        ],
    ).lines()
    yield f"({len(found.keys)} utterances of made-up people not trained on)"
    yield ""
    yield f"This took {minutes:.1f} minutes. Everything is in {directory}:"
    yield "  open report/report.html for the scores in detail, and try next"
    yield (
        f"  {_PYTHON} -m affwild_omg.predict --model={directory}/saved_model "
        "--video=YOUR.mp4 --output=mine"
    )
    yield f"  .venv/bin/tensorboard --logdir={directory}/run"


def main():
    app.run(demo)


if __name__ == "__main__":
    main()
