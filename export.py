"""Exports a trained model as a SavedModel."""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_string("model", None, "Workdir or .keras file.", required=True)
flags.DEFINE_string("output", None, "Folder for the SavedModel.", required=True)
app.define_overwrite("an earlier SavedModel")


def main():
    from affwild_omg.serving import saved_model

    path = saved_model.export(
        app.options(saved_model.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(f"SavedModel in {path}")


if __name__ == "__main__":
    app.run(main)
