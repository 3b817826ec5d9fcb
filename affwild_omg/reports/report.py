"""A run's report: a results folder becomes a page to look at.

The page is one HTML file that needs nothing else, neither a network nor the
files beside it. Those are its pictures as PNG, and what each of them shows as
CSV.

Each section of the page is a function (page, run) of one of the modules here.
"""

import pathlib

from affwild_omg.reports import run
from affwild_omg.reports.agreement import add_agreement, add_calibration
from affwild_omg.reports.breakdowns import add_lengths, add_regions, add_videos
from affwild_omg.reports.network import add_files, add_network
from affwild_omg.reports.options import ReportOptions
from affwild_omg.reports.pages import Page
from affwild_omg.reports.pictures import FIGURES, FILES, REPORT
from affwild_omg.reports.protocols import add_postprocessing, add_protocols
from affwild_omg.reports.scores import add_scores, lead, title
from affwild_omg.reports.worst import add_worst
from affwild_omg.storage import files

__all__ = ["FIGURES", "FILES", "REPORT", "write"]

_SECTIONS = (  # in the order of the page
    add_scores,
    add_protocols,
    add_postprocessing,
    add_agreement,
    add_calibration,
    add_regions,
    add_lengths,
    add_videos,
    add_worst,
    add_network,
    add_files,
)


def write(options: ReportOptions, *, overwrite: bool = False) -> pathlib.Path:
    """Writes the report of a results folder.

    The same input makes the same bytes.

    Args:
        options: what and where.
        overwrite: replace a report that is there.

    Returns:
        The page's path; its pictures and tables lie beside it, see `FILES`.

    Raises:
        UserError: the results, the records or the output can't be used.
    """
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=FILES
    ) as directory:
        found = run.read(options, directory)
        page = Page(title(found), lead(found))
        for add in _SECTIONS:
            add(page, found)
        (directory / REPORT).write_text(page.html(), encoding="utf-8")
    return pathlib.Path(options.output) / REPORT
