"""Imports a TensorFlow 1 checkpoint of the paper's authors."""

from absl import flags

from affwild_omg import cli

flags.DEFINE_string(
    "checkpoint",
    None,
    "Checkpoint: the path of its files without .index or .data-00000-of-00001.",
    required=True,
)
flags.DEFINE_string(
    "output", None, "File for the model, ending in .keras.", required=True
)
flags.DEFINE_integer(
    "sequence_length",
    80,
    "Frames of the windows that it was trained on; the authors' are of 80.",
)
cli.define_overwrite("an earlier model file")


def main():
    from affwild_omg import model_files, training_options
    from affwild_omg.importers import tf1_checkpoint

    path = tf1_checkpoint.convert(
        cli.options(tf1_checkpoint.Options), overwrite=flags.FLAGS.overwrite
    )
    architecture = model_files.read_card(path).architecture
    cli.show(
        f"model in {path}",
        "to train from it: train.py --records=... --workdir=... "
        f"--init_from={path} {training_options.flags_of(architecture)}",
    )


if __name__ == "__main__":
    cli.run(main)
