"""Imports a TensorFlow 1 checkpoint of the paper's authors."""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.weights.options import ImportOptions

options.define(ImportOptions, overwrite="an earlier model file")


def main():
    from affwild_omg.training.options import flags_of
    from affwild_omg.weights import model_file, tf1

    path = tf1.convert(
        options.read(ImportOptions), overwrite=flags.FLAGS.overwrite
    )
    architecture = model_file.read_card(path).architecture
    app.show(
        f"model in {path}",
        "to train from it: train.py --records=... --workdir=... "
        f"--init_from={path} {flags_of(architecture)}",
    )


def run():
    app.run(main)


if __name__ == "__main__":
    run()
