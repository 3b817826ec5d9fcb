"""Evaluates a model on a split of prepared records."""

from absl import flags

from affwild_omg.cli import app
from affwild_omg.cli.errors import UserError

flags.DEFINE_string("model", None, "Workdir, .keras file or SavedModel.")
flags.DEFINE_string("records", None, "Folder that affwild_omg.prepare wrote.")
flags.DEFINE_string(
    "output",
    None,
    "Folder for metrics.json, predictions.csv, labels.csv and pictures.",
    required=True,
)
flags.DEFINE_enum(
    "split", "test", ["train", "validation", "test"], "What to evaluate."
)
flags.DEFINE_enum(
    "level",
    "utterance",
    ["utterance", "sequence", "frame"],
    "What the headline scores compare; metrics.json has all.",
)
flags.DEFINE_enum(
    "pooling",
    "pooled",
    ["pooled", "per_video"],
    "CCC over all of them, or the mean of the videos' own CCCs.",
)
flags.DEFINE_enum(
    "estimate",
    "median",
    ["median", "mean"],
    "How the frames of a sequence become one estimate.",
)
flags.DEFINE_string(
    "postprocessing",
    "",
    "File of the steps to apply; empty: the workdir's, if it has chosen any; "
    "none: no post-processing.",
)
flags.DEFINE_bool(
    "choose_postprocessing",
    False,
    "Choose the steps that raise CCC on this split, which must be validation, "
    "and write them to the workdir.",
)
flags.DEFINE_integer(
    "sequence_length", 0, "Frames of a window; 0 takes the model's own."
)
flags.DEFINE_integer("batch_size", 4, "Windows at a time.")
# In the place of a model: a submission, scored as the organisers' script does.
flags.DEFINE_string(
    "predictions", None, "CSV of predictions to score in the place of a model."
)
flags.DEFINE_string(
    "annotations", None, "CSV of the truth, such as the organisers' tables."
)
flags.DEFINE_enum(
    "match",
    "key",
    ["key", "order"],
    "How the rows of the two match: by video and utterance, or by order.",
)
app.require("model", "records", unless=("predictions", "annotations"))
app.define_overwrite("an earlier evaluation")

_OF_A_MODEL = (
    "split",
    "level",
    "estimate",
    "postprocessing",
    "choose_postprocessing",
    "sequence_length",
    "batch_size",
)


def main():
    if flags.FLAGS.predictions or flags.FLAGS.annotations:
        _score_submission()
        return
    if flags.FLAGS["match"].present:
        raise UserError(
            "--match goes with --predictions; --model's are matched by video "
            "and utterance: leave it out"
        )
    from affwild_omg.evaluation import evaluator

    metrics = evaluator.evaluate(
        app.options(evaluator.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(*evaluator.table(metrics), f"results in {flags.FLAGS.output}")


def _score_submission():
    given = {
        name
        for name in ("predictions", "annotations", "model", "records")
        if flags.FLAGS[name].value
    }
    if given != {"predictions", "annotations"}:
        raise UserError(
            "--predictions goes with --annotations, and with neither --model "
            "nor --records; give the one pair or the other"
        )
    for name in _OF_A_MODEL:
        if flags.FLAGS[name].present:
            raise UserError(
                f"--{name} goes with --model; --predictions are scored by "
                "utterance: leave it out"
            )
    from affwild_omg.evaluation import submission

    metrics = submission.score(
        app.options(submission.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(*submission.table(metrics), f"results in {flags.FLAGS.output}")


if __name__ == "__main__":
    app.run(main)
