"""Shows the whole path on faces that need no data set.

Draws the demo corpus, finds its faces, trains a narrow CNN-3RNN and a
control on shuffled labels, evaluates both on made-up people that neither has
seen (all are made from two portraits), exports a SavedModel and predicts a
video with it.

With --chain it runs the paper's chain on such faces instead: a network that was
pre-trained on films with a label for each frame, and one with random weights,
learn from the demo corpus for as long, three times over.
"""

import pathlib
import statistics
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
flags.DEFINE_bool(
    "chain",
    False,
    "Compare a network that was pre-trained on films like Aff-Wild2's with one "
    "of random weights, in the same folder.",
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
# The chain: seeds, and epochs before and on the demo corpus.
SEEDS = (0, 1, 2)
BEFORE = {"epochs": 10}
AFTER = {"epochs": 2}
STARTS = {"pre-trained": "fine_tuned", "random weights": "scratch"}
_PYTHON = ".venv/bin/python"


def demo():
    start = time.monotonic()
    directory = pathlib.Path(flags.FLAGS.directory)
    stages = Stages(directory / FILE)
    chain = flags.FLAGS.chain
    for stage in list_stages(directory, chain=chain):
        stages.run(**stage._asdict())
    summary = _compare if chain else _summary
    app.show(*summary(directory, (time.monotonic() - start) / 60))


def list_stages(directory: pathlib.Path, *, chain: bool = False) -> list[Stage]:
    """Lists the stages, each after those whose outputs it reads.

    Args:
        directory: for all that they write.
        chain: those of the chain in place of the demo's; they share the corpus
            and its records.
    """
    from affwild_omg.evaluation import evaluator
    from affwild_omg.inference import video
    from affwild_omg.preparation import engine
    from affwild_omg.reports import report
    from affwild_omg.serving import exporting
    from affwild_omg.synthetic import affwild2, corpus, plan
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

    def draw(name, module):
        options = corpus.CorpusOptions(
            directory=at(name), edition=module.EDITION
        )
        return stage(name, module.write_corpus, options, None, [], [name])

    def prepare(name, kind, source):
        options = PreparationOptions(
            corpus=kind, source=at(source), records=at(name)
        )
        command = "-m affwild_omg.prepare"
        return stage(name, engine.prepare, options, command, [source], [name])

    def train(name, records="records", start=None, **settings):
        options = TrainingOptions(
            records=at(records),
            workdir=at(name),
            init_from=start and at(start),
            **TRAINING | settings,
        )
        inputs = [records, *([f"{start}/{workdirs.BEST}"] if start else [])]
        outputs = [f"{name}/{workdirs.BEST}", f"{name}/{workdirs.HISTORY}"]
        return stage(name, loop.train, options, "train.py", inputs, outputs)

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

    chosen = [
        f"run/{name}"
        for name in (workdirs.POSTPROCESSING, workdirs.HALF_WIDTHS)
    ]
    choosing = {"split": "validation", "choose_postprocessing": True}
    # The longest clip of the test split.
    _, *clip = max(
        (utterance.frames, video.video, utterance.utterance)
        for video in plan.plan_corpus()
        if video.split == "test"
        for utterance in video.utterances
    )
    drawn = [draw("corpus", corpus), prepare("records", "omg", "corpus")]
    if chain:
        trained = []
        for seed in SEEDS:
            before, after, scratch = (
                f"chain/seed_{seed}/{name}"
                for name in ("pretrained", *STARTS.values())
            )
            trained += [
                train(before, "affwild2_records", seed=seed, **BEFORE),
                train(after, start=before, seed=seed, **AFTER),
                train(scratch, seed=seed, **AFTER),
            ]
            for name in (after, scratch):
                for split in ("validation", "test"):
                    trained.append(
                        evaluate(f"{name}_{split}", name, split=split)
                    )
        return [
            *drawn,
            draw("affwild2", affwild2),
            prepare("affwild2_records", "affwild2", "affwild2"),
            *trained,
        ]
    return [
        *drawn,
        train("run"),
        evaluate("validation", "run", outputs=chosen, **choosing),
        evaluate("evaluation", "run", inputs=chosen),
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
            exporting.export,
            ExportOptions(model=at("run"), output=at("saved_model")),
            "export.py",
            [f"run/{workdirs.BEST}", *chosen[1:]],
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
        if bare := found.without_postprocessing:
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


def _compare(directory: pathlib.Path, minutes: float) -> Iterator[str]:
    from affwild_omg.evaluation import protocol, results

    rows = []
    for start, name in STARTS.items():
        cells = [start]
        for split in ("validation", "test"):
            found = [
                results.read(
                    directory / f"chain/seed_{seed}/{name}_{split}",
                    flag="--directory",
                )
                for seed in SEEDS
            ]
            means = [x.scores().cccs[protocol.MEAN] for x in found]
            cells += [
                wording.number(value)
                for value in (statistics.mean(means), statistics.stdev(means))
            ]
        rows.append(cells)
    header = ["mean CCC", "validation", "spread", "test", "spread"]
    yield ""
    yield from Table(header, rows).lines()
    yield (
        f"(mean and standard deviation over {len(SEEDS)} seeds, "
        f"{AFTER['epochs']} epochs on the demo corpus)"
    )
    yield ""
    yield f"This took {minutes:.1f} minutes. Everything is in {directory}."


def main():
    app.run(demo, "the same command goes on where it stopped")


if __name__ == "__main__":
    main()
