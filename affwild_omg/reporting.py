"""Lays runs beside the paper's tables, or reports on one run in detail."""

import functools

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.experiments.options import TableOptions
from affwild_omg.reports.options import ReportOptions

options.define(
    TableOptions, ReportOptions, overwrite="an earlier table or report"
)
flags.register_multi_flags_validator(
    ["table", "results"],
    lambda given: (given["table"] is None) != (given["results"] is None),
    "--table or --results must be given, and not both.",
)
flags.register_multi_flags_validator(
    ["table", "runs"],
    lambda given: (given["table"] is None) == (given["runs"] is None),
    "--runs goes with --table, and --table with --runs.",
)


def main():
    if flags.FLAGS.results is not None:
        _report()
    else:
        _tabulate()


def _tabulate():
    from affwild_omg.experiments import tabulation

    tabulated = tabulation.make(
        options.read(TableOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        *tabulation.lines(tabulated),
        "",
        f"table in {flags.FLAGS.output}/"
        f"{tabulation.names(flags.FLAGS.table)[0]}, .json, .md and .png",
    )


def _report():
    from affwild_omg.reports import report

    page = report.write(
        options.read(ReportOptions), overwrite=flags.FLAGS.overwrite
    )
    app.show(f"report in {page}")


run = functools.partial(app.run, main)


if __name__ == "__main__":
    run()
