"""Shows the whole path on faces that need no data set.

Draws the demo corpus, finds its faces, trains a narrow CNN-3RNN and a
control on shuffled labels, evaluates both on people neither has seen,
exports a SavedModel and predicts a video with it.
"""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from absl import flags

from affwild_omg.cli import app, wording
from affwild_omg.cli.tables import Table
from affwild_omg.evaluation.options import EvaluationOptions
from affwild_omg.inference.options import PredictionOptions
from affwild_omg.paper.task import TARGETS
from affwild_omg.preparation.options import PreparationOptions
from affwild_omg.reports.options import ReportOptions
from affwild_omg.serving.options import ExportOptions
from affwild_omg.storage.stages import FILE, Stages
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


class Stage(NamedTuple):
    """A step of the demo; see `storage.stages.Stages.run`."""

    name: str
    function: Callable
    options: object
    command: str | None
    inputs: list[str]
    outputs: list[str]


def main():
    start = time.monotonic()
    directory = pathlib.Path(flags.FLAGS.directory)
    stages = Stages(directory / FILE)
    for stage in list_stages(directory):
        stages.run(**stage._asdict())
    app.show(*_summary(directory, (time.monotonic() - start) / 60))


def list_stages(directory: pathlib.Path) -> list[Stage]:
    """Lists the demo's stages, each after those whose outputs it reads."""
    from affwild_omg.corpora import omg
    from affwild_omg.data import records
    from affwild_omg.evaluation import evaluator
    from affwild_omg.inference import video
    from affwild_omg.preparation import engine
    from affwild_omg.reports import report
    from affwild_omg.serving import saved_model
    from affwild_omg.synthetic import corpus
    from affwild_omg.training import loop
    from affwild_omg.weights import workdir as workdirs

    def at(*names):
        return str(directory.joinpath(*names))

    def train(options):
        made = [workdirs.BEST, workdirs.HISTORY]
        return Stage(
            pathlib.Path(options.workdir).name,
            loop.train,
            options,
            f"{_PYTHON} train.py",
            inputs=[at("records")],
            outputs=[f"{options.workdir}/{name}" for name in made],
        )

    def evaluate(name, workdir, inputs=(), outputs=(), **settings):
        return Stage(
            name,
            evaluator.evaluate,
            EvaluationOptions(
                model=at(workdir),
                records=at("records"),
                output=at(name),
                **settings,
            ),
            f"{_PYTHON} evaluate.py",
            inputs=[at("records"), at(workdir, workdirs.BEST), *inputs],
            outputs=[at(name), *outputs],
        )

    training = TrainingOptions(
        records=at("records"), workdir=at("run"), **TRAINING
    )
    # There is nothing to come: four epochs without any are enough.
    control = dataclasses.replace(
        training, workdir=at("control"), shuffle_labels=True, patience=4
    )
    steps = at("run", workdirs.POSTPROCESSING)
    choosing = {"split": "validation", "choose_postprocessing": True}
    clip = at("corpus", *_longest_test_clip())
    return [
        Stage(
            "corpus",
            corpus.write_corpus,
            corpus.CorpusOptions(directory=at("corpus")),
            command=None,
            inputs=[],
            outputs=[
                at("corpus"),
                at("corpus", omg.DEMO),
                *(at("corpus", *clip) for clip in _clips()),
            ],
        ),
        Stage(
            "records",
            engine.prepare,
            PreparationOptions(
                corpus="omg", source=at("corpus"), records=at("records")
            ),
            f"{_PYTHON} -m affwild_omg.prepare",
            inputs=[at("corpus")],
            outputs=[at("records"), at("records", records.MANIFEST)],
        ),
        train(training),
        evaluate("validation", "run", outputs=[steps], **choosing),
        evaluate("evaluation", "run", inputs=[steps]),
        Stage(
            "report",
            report.write,
            ReportOptions(
                results=at("evaluation"),
                records=at("records"),
                output=at("report"),
            ),
            f"{_PYTHON} -m affwild_omg.reporting",
            inputs=[at("evaluation"), at("records")],
            outputs=[at("report")],
        ),
        train(control),
        evaluate("control_evaluation", "control"),
        Stage(
            "saved_model",
            saved_model.export,
            ExportOptions(model=at("run"), output=at("saved_model")),
            f"{_PYTHON} export.py",
            inputs=[at("run", workdirs.BEST)],
            outputs=[at("saved_model")],
        ),
        Stage(
            "prediction",
            video.predict,
            PredictionOptions(
                model=at("saved_model"), video=clip, output=at("prediction")
            ),
            f"{_PYTHON} -m affwild_omg.predict",
            inputs=[at("saved_model"), clip],
            outputs=[at("prediction")],
        ),
    ]


def _clips() -> list[tuple[str, str]]:
    """Lists the corpus' clips, each as its folder and its name."""
    from affwild_omg.synthetic import plan

    return [
        (video.video, utterance.utterance)
        for video in plan.plan_corpus()
        for utterance in video.utterances
    ]


def _longest_test_clip() -> tuple[str, str]:
    from affwild_omg.synthetic import plan

    _, video, utterance = max(
        (utterance.frames, video.video, utterance.utterance)
        for video in plan.plan_corpus()
        if video.split == "test"
        for utterance in video.utterances
    )
    return video, utterance


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
    yield f"({len(found.keys)} utterances of people not trained on)"
    yield ""
    for what, folder in (
        ("clips and tables", "corpus"),
        ("aligned faces", "records"),
        ("trained model", "run"),
        ("scores, pictures", "evaluation"),
        ("report to look at", "report"),
        ("SavedModel", "saved_model"),
        ("frame by frame", "prediction"),
    ):
        yield f"{what:<20}{directory / folder}"
    yield ""
    yield f"All of this took {minutes:.1f} minutes. Try next:"
    yield (
        f"  {_PYTHON} -m affwild_omg.predict --model={directory}/saved_model "
        "--video=YOUR.mp4 --output=mine"
    )
    yield f"  .venv/bin/tensorboard --logdir={directory}/run"
    yield f"  {_PYTHON} train.py --help"


def run():
    app.run(main)


if __name__ == "__main__":
    run()
