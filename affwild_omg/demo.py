"""Shows the whole path on faces that need no data set.

Draws the demo corpus, finds its faces, trains a narrow CNN-3RNN and a
control on shuffled labels, evaluates both on people neither has seen,
exports a SavedModel and predicts a video with it.
"""

import dataclasses
import json
import pathlib
import shlex
import shutil
import time
from collections.abc import Callable

from absl import flags, logging

from affwild_omg import cli
from affwild_omg.errors import UserError

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
STAGES = "stages.json"


def main():
    demonstrate(pathlib.Path(flags.FLAGS.directory))


def demonstrate(directory: pathlib.Path) -> None:
    """Makes what is not there yet, then shows what came out."""
    from affwild_omg import (
        evaluation,
        exporting,
        model_files,
        predicting,
        preparing,
        results,
        training,
    )
    from affwild_omg.corpora import demo as corpus

    start = time.monotonic()
    place = {
        name: str(directory / name)
        for name in (
            "corpus",
            "records",
            "run",
            "control",
            "evaluation",
            "control_evaluation",
            "saved_model",
            "prediction",
        )
    }
    stages = _Stages(directory / STAGES)
    _drop_broken(corpus, pathlib.Path(place["corpus"]))
    stages.run(
        "prepare",
        preparing.prepare,
        preparing.Options(
            corpus="demo", source=place["corpus"], records=place["records"]
        ),
        ".venv/bin/python -m affwild_omg.prepare",
        whole=lambda: (
            corpus.is_complete(place["corpus"], corpus.DemoOptions())
            and _records_whole(place["records"])
        ),
    )
    for run, scores, changes in (
        ("run", "evaluation", {}),
        (
            "control",
            "control_evaluation",
            # There is nothing to come: four epochs without any are enough.
            {"shuffle_labels": True, "patience": 4},
        ),
    ):
        options = training.Options(
            records=place["records"],
            workdir=place[run],
            **TRAINING | changes,
        )
        stages.run(
            run,
            training.train,
            options,
            ".venv/bin/python train.py",
            whole=_files(place[run], model_files.BEST, training.HISTORY),
            needs="prepare",
        )
        stages.run(
            scores,
            evaluation.evaluate,
            evaluation.Options(
                model=place[run],
                records=place["records"],
                output=place[scores],
            ),
            ".venv/bin/python evaluate.py",
            whole=_files(
                place[scores],
                *results.FILES,
            ),
            needs=run,
        )
    stages.run(
        "saved_model",
        exporting.export,
        exporting.Options(model=place["run"], output=place["saved_model"]),
        ".venv/bin/python export.py",
        whole=_files(
            place["saved_model"], "saved_model.pb", "variables/variables.index"
        ),
        needs="run",
    )
    video = _longest_test_clip(corpus, place["corpus"])
    stages.run(
        "prediction",
        predicting.predict,
        predicting.Options(
            model=place["saved_model"],
            video=str(video),
            output=place["prediction"],
        ),
        ".venv/bin/python -m affwild_omg.predict",
        whole=_files(
            place["prediction"], f"{video.stem}.csv", f"{video.stem}.png"
        ),
        needs="saved_model",
    )
    cli.show(*_summary(corpus, place, time.monotonic() - start))


class _Stages:
    """Remembers which stages are done, and with which options."""

    def __init__(self, path):
        self.path = path
        self.done = json.loads(path.read_text()) if path.is_file() else {}
        self.anew = set()  # stages that were run this time

    def run(
        self,
        name: str,
        stage: Callable,
        options,
        command: str,
        *,
        whole: Callable[[], bool],
        needs: str | None = None,
    ) -> None:
        """Runs a stage unless what it makes is whole, of these options.

        A stage that needs another is run whenever that one was.
        """
        from affwild_omg import outputs

        settings = dataclasses.asdict(options)
        if (
            needs not in self.anew
            and self.done.get(name) == settings
            and whole()
        ):
            logging.info("%s: there already", name)
            return
        self.anew.add(name)
        logging.info("\n$ %s", _command_line(command, options))
        stage(options, overwrite=True)
        self.done[name] = settings
        self.path.parent.mkdir(parents=True, exist_ok=True)
        outputs.write_text(self.path, json.dumps(self.done, indent=2) + "\n")


def _files(directory, *names):
    return lambda: all(
        pathlib.Path(directory, name).is_file() for name in names
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


def _command_line(command, options):
    defaults = {
        field.name: field.default for field in dataclasses.fields(options)
    }
    given = [
        shlex.quote(f"--{name}={value}")
        for name, value in dataclasses.asdict(options).items()
        if value != defaults[name] and value is not True
    ]
    switches = [
        f"--{name}"
        for name, value in dataclasses.asdict(options).items()
        if value is True and not defaults[name]
    ]
    return " ".join([command, *given, *switches])


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
        rows[name] = tuple(
            metrics[target]["ccc"] for target in ("valence", "arousal")
        )
    utterances = metrics["utterances"]
    yield ""
    yield f"{'test CCC':<20}{'valence':>9}{'arousal':>9}"
    for name, (valence, arousal) in rows.items():
        yield f"{name:<20}{valence:>9.3f}{arousal:>9.3f}"
    yield f"({utterances} utterances of people not trained on)"
    yield ""
    for what, name in (
        ("clips and tables", "corpus"),
        ("aligned faces", "records"),
        ("trained model", "run"),
        ("scores, pictures", "evaluation"),
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


if __name__ == "__main__":
    cli.run(main)
