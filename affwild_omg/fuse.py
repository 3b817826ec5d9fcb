"""Fuses evaluated runs: each utterance takes their weighted average.

Decision-level fusion: in valence and in arousal, a run weighs as much as its
CCC on validation.
"""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_list(
    "validation",
    None,
    "Folders that evaluate.py wrote of the validation split, two or more, "
    "separated by commas.",
    required=True,
)
flags.DEFINE_list(
    "test",
    None,
    "Folders that evaluate.py wrote of the test split, of the same runs in "
    "the same order.",
    required=True,
)
flags.DEFINE_string(
    "output",
    None,
    "Folder for metrics.json, predictions.csv, labels.csv and pictures.",
    required=True,
)
app.define_overwrite("an earlier fusion")


def main():
    from affwild_omg.evaluation import fusion

    metrics = fusion.fuse(
        app.options(fusion.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(*fusion.table(metrics), f"results in {flags.FLAGS.output}")


if __name__ == "__main__":
    app.run(main)
