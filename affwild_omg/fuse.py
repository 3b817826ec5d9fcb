"""Fuses evaluated runs: each utterance takes their weighted average.

Decision-level fusion: in valence and in arousal, a run weighs as much as its
CCC on validation.
"""

from absl import flags

from affwild_omg import cli

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
cli.define_overwrite("an earlier fusion")


def main():
    from affwild_omg import fusing

    metrics = fusing.fuse(
        cli.options(fusing.Options), overwrite=flags.FLAGS.overwrite
    )
    cli.show(*fusing.table(metrics), f"results in {flags.FLAGS.output}")


if __name__ == "__main__":
    cli.run(main)
