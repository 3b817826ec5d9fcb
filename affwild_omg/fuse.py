"""Fuses evaluated runs: each utterance takes their weighted average.

Decision-level fusion: in valence and in arousal, a run weighs as much as its
CCC on validation.
"""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.evaluation.options import FusionOptions

options.define(FusionOptions, overwrite="an earlier fusion")


def main():
    from affwild_omg.evaluation import fusion

    metrics = fusion.fuse(
        options.read(FusionOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(*fusion.table(metrics), f"results in {flags.FLAGS.output}")


def run():
    app.run(main)


if __name__ == "__main__":
    run()
