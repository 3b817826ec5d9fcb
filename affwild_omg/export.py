"""Exports a trained model as a SavedModel."""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.serving.options import ExportOptions

options.define(ExportOptions, overwrite="an earlier SavedModel")


def main():
    from affwild_omg.serving import saved_model

    path = saved_model.export(
        options.read(ExportOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(f"SavedModel in {path}")


def run():
    app.run(main)


if __name__ == "__main__":
    run()
