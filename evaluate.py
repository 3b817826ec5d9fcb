"""Evaluates a model on a split of prepared records."""

from absl import flags

from affwild_omg import cli

flags.DEFINE_string(
    "model", None, "Workdir, .keras file or SavedModel.", required=True
)
flags.DEFINE_string(
    "records", None, "Folder that affwild_omg.prepare wrote.", required=True
)
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
    "estimate",
    "median",
    ["median", "mean"],
    "How the frames of a sequence become one estimate.",
)
flags.DEFINE_integer(
    "sequence_length", 0, "Frames of a window; 0 takes the model's own."
)
flags.DEFINE_integer("batch_size", 4, "Windows at a time.")
cli.define_overwrite("an earlier evaluation")


def main():
    from affwild_omg import evaluation

    metrics = evaluation.evaluate(
        cli.options(evaluation.Options), overwrite=flags.FLAGS.overwrite
    )
    cli.show(*evaluation.table(metrics), f"results in {flags.FLAGS.output}")


if __name__ == "__main__":
    cli.run(main)
