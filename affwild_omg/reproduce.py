"""Trains, evaluates and tabulates the rows of a table of the paper.

Run again, it goes on where it stopped. Runs of other options belong into
another --output.
"""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.experiments.options import ReproductionOptions

options.define(
    ReproductionOptions,
    overwrite="trainings of other options, records or weights",
)


def main():
    from affwild_omg.experiments import reproduction, tabulation

    outcome = reproduction.reproduce(
        options.read(ReproductionOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        *tabulation.lines(outcome.tabulated),
        "",
        f"table in {flags.FLAGS.output}/"
        f"{tabulation.names(flags.FLAGS.table)[0]}, .json, .md and .png",
    )
    outcome.require_all()


def run():
    app.run(main)


if __name__ == "__main__":
    run()
