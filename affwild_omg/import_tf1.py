"""Imports a TensorFlow 1 checkpoint of the paper's authors."""

from absl import flags

from affwild_omg.cli import app

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
app.define_overwrite("an earlier model file")


def main():
    from affwild_omg.training import options
    from affwild_omg.weights import model_file, tf1

    path = tf1.convert(
        app.options(tf1.Options), overwrite=flags.FLAGS.overwrite
    )
    architecture = model_file.read_card(path).architecture
    app.show(
        f"model in {path}",
        "to train from it: train.py --records=... --workdir=... "
        f"--init_from={path} {options.flags_of(architecture)}",
    )


if __name__ == "__main__":
    app.run(main)
