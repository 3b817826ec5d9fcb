"""Exports a trained model as a SavedModel."""

from absl import flags

from affwild_omg import cli

flags.DEFINE_string("model", None, "Workdir or .keras file.", required=True)
flags.DEFINE_string("output", None, "Folder for the SavedModel.", required=True)
cli.define_overwrite("an earlier SavedModel")


def main():
    from affwild_omg import exporting

    path = exporting.export(
        cli.options(exporting.Options), overwrite=flags.FLAGS.overwrite
    )
    cli.show(f"SavedModel in {path}")


if __name__ == "__main__":
    cli.run(main)
