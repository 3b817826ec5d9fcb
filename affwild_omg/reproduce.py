"""Trains, evaluates and tabulates the rows of a table of the paper.

Run again, it continues where it stopped. Runs of other options belong in
another --output.
"""

from affwild_omg.cli import app
from affwild_omg.experiments.options import ReproductionOptions


@app.command(
    ReproductionOptions,
    overwrite="what is of other options, records or weights",
    interrupted="finished runs and epochs are kept, and the same command goes "
    "on",
)
def main(options: ReproductionOptions, *, overwrite: bool) -> None:
    from affwild_omg.experiments import reproduction, tabulation

    outcome = reproduction.reproduce(options, overwrite=overwrite)
    app.show(*tabulation.lines(outcome.tabulated, options.output))
    outcome.require_all()


if __name__ == "__main__":
    main()
