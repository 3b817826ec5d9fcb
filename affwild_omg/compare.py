"""Compares two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances. How far the difference of their CCCs
can be trusted is told from drawing and swapping whole videos.
"""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_string(
    "first",
    None,
    "Folder that evaluate.py or fuse wrote of one run.",
    required=True,
)
flags.DEFINE_string(
    "second",
    None,
    "Folder that evaluate.py or fuse wrote of the other run, of the same "
    "split.",
    required=True,
)
flags.DEFINE_string(
    "output",
    None,
    "Folder for comparison.json and comparison.csv.",
    required=True,
)
app.define_overwrite("an earlier comparison")


def main():
    from affwild_omg.evaluation import comparison as comparing

    comparison = comparing.compare(
        app.options(comparing.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        *comparing.table(comparison), f"comparison in {flags.FLAGS.output}"
    )


if __name__ == "__main__":
    app.run(main)
