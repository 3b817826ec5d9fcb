"""Lays runs beside the paper's tables, or reports on one run in detail."""

from affwild_omg.cli import app
from affwild_omg.experiments.options import TableOptions
from affwild_omg.reports.options import ReportOptions


@app.command(
    TableOptions, ReportOptions, overwrite="an earlier table or report"
)
def main(options: TableOptions | ReportOptions, *, overwrite: bool) -> None:
    if isinstance(options, ReportOptions):
        from affwild_omg.reports import report

        page = report.write(options, overwrite=overwrite)
        app.show(f"report in {page}")
        return
    from affwild_omg.experiments import tabulation

    tabulated = tabulation.make(options, overwrite=overwrite)
    app.show(*tabulation.lines(tabulated, options.output))


if __name__ == "__main__":
    main()
