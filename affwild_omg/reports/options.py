"""Options of a report: flags of affwild_omg.reporting."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReportOptions(options.Checked):
    """Which results are reported on, and where to."""

    results: str = option(
        "Folder that evaluate.py or affwild_omg.fuse wrote, to report on in "
        "HTML.",
        exists=True,
    )
    output: str = option("Folder for the table or the report.")
    records: str | None = option(
        "Folder that affwild_omg.prepare wrote, for the faces of the worst "
        "utterances of --results (default: none are shown).",
        None,
        exists=True,
    )
    worst: int = option(
        "How many of the worst utterances of --results are shown.",
        8,
        least=1,
        most=16,  # more would make the page too big
    )
