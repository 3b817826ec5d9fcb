"""Prepares a corpus: clips become records of aligned faces."""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_enum(
    "corpus",
    None,
    ["omg"],
    "The corpus, whose tables and clips lie in --source.",
    required=True,
)
flags.DEFINE_string(
    "source",
    None,
    "Folder with the corpus' tables, and clips at <video>/<utterance>.",
    required=True,
)
flags.DEFINE_string("records", None, "Folder for the records.", required=True)
flags.DEFINE_integer(
    "detect_every",
    24,
    "Frames from one face detection to the next; landmarks are tracked in "
    "between.",
)
flags.DEFINE_integer("workers", 0, "Processes; 0 takes one a core.")
app.define_overwrite("earlier records")


def main():
    from affwild_omg.preparation import engine

    manifest = engine.prepare(
        app.options(engine.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(*engine.table(manifest), f"records in {flags.FLAGS.records}")


if __name__ == "__main__":
    app.run(main)
