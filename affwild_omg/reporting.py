"""Lays runs beside the paper's tables, or reports on one run in detail."""

from absl import flags

from affwild_omg.cli import app

flags.DEFINE_integer(
    "table",
    None,
    "Table of the paper, 3 to 8, to lay beside --runs.",
    lower_bound=3,
    upper_bound=8,
)
flags.DEFINE_string(
    "runs", None, "Folder that affwild_omg.reproduce wrote, for --table."
)
flags.DEFINE_string(
    "results",
    None,
    "Folder that evaluate.py or affwild_omg.fuse wrote, to report on in HTML.",
)
flags.DEFINE_string(
    "records",
    None,
    "Folder that affwild_omg.prepare wrote, for the faces of the worst "
    "utterances of --results (default: none are shown).",
)
flags.DEFINE_integer(
    "worst", 8, "How many of the worst utterances of --results are shown."
)
flags.DEFINE_string(
    "output", None, "Folder for the table or the report.", required=True
)
app.require_one("table", "results")
app.require_with("table", "runs")
app.define_overwrite("an earlier table or report")


def main():
    if flags.FLAGS.results is not None:
        _report_run()
        return
    from affwild_omg.experiments import tabulation

    tabulated = tabulation.make(
        app.options(tabulation.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(
        *tabulation.lines(tabulated),
        "",
        f"table in {flags.FLAGS.output}/"
        f"{tabulation.names(flags.FLAGS.table)[0]}, .json, .md and .png",
    )


def _report_run():
    from affwild_omg.reports import report

    page = report.write(
        app.options(report.Options), overwrite=flags.FLAGS.overwrite
    )
    app.show(f"report in {page}")


if __name__ == "__main__":
    app.run(main)
