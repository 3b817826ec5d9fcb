"""Compares two evaluated runs: is one better, or is it sampling noise?

Both are scored on the same utterances. How far the difference of their CCCs
can be trusted is told from drawing and swapping whole videos.
"""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.evaluation.options import ComparisonOptions

options.define(ComparisonOptions, overwrite="an earlier comparison")


def main():
    from affwild_omg.evaluation import comparison

    compared = comparison.compare(
        options.read(ComparisonOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(*comparison.table(compared), f"comparison in {flags.FLAGS.output}")


def run():
    app.run(main)


if __name__ == "__main__":
    run()
