"""Compares two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances. How far the difference of their CCCs
can be trusted is told from drawing and swapping whole videos.
"""

from absl import flags

from affwild_omg import cli

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
cli.define_overwrite("an earlier comparison")


def main():
    from affwild_omg import comparing

    comparison = comparing.compare(
        cli.options(comparing.Options), overwrite=flags.FLAGS.overwrite
    )
    cli.show(
        *comparing.table(comparison), f"comparison in {flags.FLAGS.output}"
    )


if __name__ == "__main__":
    cli.run(main)
