"""Trains, evaluates and tabulates the rows of a table of the paper.

Run again, it goes on where it stopped. Runs of other options belong into
another --output.
"""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_integer(
    "table",
    None,
    "Table of the paper, 3 to 8.",
    lower_bound=3,
    upper_bound=8,
    required=True,
)
flags.DEFINE_string(
    "records",
    None,
    "Folder that affwild_omg.prepare wrote of OMG-Emotion.",
    required=True,
)
flags.DEFINE_string(
    "output",
    None,
    "Folder for the runs, <run>/seed_<n>, and the table.",
    required=True,
)
flags.DEFINE_string(
    "affwild_records",
    None,
    "Folder that affwild_omg.prepare wrote of Aff-Wild, to pre-train on.",
)
flags.DEFINE_string(
    "affwild2_records",
    None,
    "Folder that affwild_omg.prepare wrote of Aff-Wild2, to pre-train on; "
    "most rows are not run without it.",
)
flags.DEFINE_list(
    "weights",
    None,
    "Weights to start from, by backbone, before any pre-training: "
    "vgg_face=FILE,resnet50=FILE,densenet121=FILE (default: random).",
)
flags.DEFINE_enum(
    "pretraining",
    "paper",
    ["paper", "none"],
    "Pre-train as the paper did, or train every row on --records alone.",
)
flags.DEFINE_enum(
    "strategy",
    "end_to_end",
    ["end_to_end", "end_to_end_slow", "cnn_fixed"],
    "All layers at a learning rate of 1e-4, or of 1e-5, or the CNN fixed at "
    "1e-3.",
)
flags.DEFINE_list(
    "seeds", None, "Seeds, separated by commas, a run each (default: 0)."
)
flags.DEFINE_list(
    "rows",
    None,
    "Keys of the rows to run, such as pool2_pool5_fc (default: all).",
)
flags.DEFINE_list(
    "options",
    None,
    "Options of train.py in the place of the paper's, such as "
    "width=0.0625,units=32,epochs=8.",
)
app.define_overwrite("trainings of other options, records or weights")


def main():
    from affwild_omg.experiments import reproduction, tabulation

    outcome = reproduction.reproduce(
        app.options(reproduction.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        *tabulation.lines(outcome.tabulated),
        "",
        f"table in {flags.FLAGS.output}/"
        f"{tabulation.names(flags.FLAGS.table)[0]}, .json, .md and .png",
    )
    outcome.require_all()


if __name__ == "__main__":
    app.run(main)
