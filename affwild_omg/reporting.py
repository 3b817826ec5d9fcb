"""Lays runs beside the paper's tables, or reports on one run in detail."""

from absl import flags

from affwild_omg.cli import app, options
from affwild_omg.experiments.options import TableOptions
from affwild_omg.reports.options import ReportOptions

options.define(
    TableOptions, ReportOptions, overwrite="an earlier table or report"
)
options.require_one("table", "results")
options.require_with("table", "runs")


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


def run():
    app.run(main)


if __name__ == "__main__":
    run()
