"""Reports: a results folder becomes a page to look at.

The page is one HTML file that needs nothing else, no network, no script and
none of the files beside it: its pictures as PNG, and two tables, of all
utterances and of all groups of them. The templates hold what the page says,
and escape whatever they are given.
"""

import pathlib
from collections.abc import Iterable

import jinja2
import markupsafe
import pandas as pd

from affwild_omg.cli import wording
from affwild_omg.cli.errors import UserError
from affwild_omg.evaluation import protocol, results
from affwild_omg.reports import sections
from affwild_omg.reports.options import ReportOptions
from affwild_omg.reports.source import Source
from affwild_omg.storage import files

REPORT = "report.html"
UTTERANCES = "utterances.csv"
GROUPS = "groups.csv"
PICTURES = (  # in the order of the page
    "protocols",
    "agreement",
    "plane",
    "regions",
    "lengths",
    "worst",
    "timelines",
    "training",
)
FILES = (REPORT, UTTERANCES, GROUPS, *(f"{name}.png" for name in PICTURES))

_SECTIONS = (  # title, template, what gathers its values, whether of labels
    ("Scores", "scores", sections.scores, False),
    ("Protocols", "protocols", sections.protocols, True),
    ("Post-processing", "postprocessing", sections.postprocessing, False),
    ("Predictions and labels", "agreement", sections.agreement, True),
    ("Calibration", "calibration", sections.calibration, True),
    ("Regions of the plane", "groups", sections.regions, True),
    ("Lengths", "groups", sections.lengths, True),
    ("Videos", "videos", None, True),
    ("Worst utterances", "worst", sections.worst, True),
    ("Network and training", "network", sections.network, False),
)


def _heads(targets: Iterable[str], *names: str) -> list[str]:
    """Returns the names of so many columns for each target."""
    return [f"{target}: {name}" for target in targets for name in names]


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("affwild_omg.reports"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)
_TEMPLATES.globals.update(
    heads=_heads, interval_name=protocol.INTERVAL_NAME, few=protocol.FEW
)
_TEMPLATES.filters.update(
    count=wording.count,
    interval=wording.interval,
    number=wording.number,
    p_value=wording.p_value,
    percent="{:.1%}".format,
    thousands="{:,}".format,
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
        UserError: the results, the records or the output cannot be used.
    """
    with files.atomic_directory(
        options.output, flag="--output", overwrite=overwrite, owned=FILES
    ) as directory:
        source = _read(options, directory)
        (directory / REPORT).write_text(_page(source), encoding="utf-8")
        groups = [
            {"by": kind} | group.to_row()
            for kind, found in source.groups.items()
            for group in found
        ]
        for name, table in (
            (UTTERANCES, source.utterances),
            (GROUPS, pd.DataFrame(groups)),
        ):
            if len(table):
                table.to_csv(
                    directory / name,
                    index=False,
                    float_format="%.8g",
                    lineterminator="\n",
                )
    return pathlib.Path(options.output) / REPORT


def _read(options, directory):
    found = results.read(options.results, flag="--results", frames=True)
    level, corpus = found.provenance.level, found.provenance.corpus
    if level != found.noun and found.frames is None:
        raise UserError(
            f"--results={options.results} is scored by {level}, but holds no "
            f"{results.FRAMES}; write the folder again with evaluate.py "
            "--overwrite"
        )
    if options.records:
        from affwild_omg.data import manifest

        records = manifest.read(options.records)
        corpus = corpus or records.content.get("corpus")
        evaluated = found.provenance.records_sha256
        if evaluated not in (None, records.digest):
            raise UserError(
                f"--records={options.records} are not the records that "
                f"--results={options.results} are of; give those, or leave "
                "--records out"
            )
    return Source(
        options=options, directory=directory, results=found, corpus=corpus
    )


def _page(source):
    parts = []
    for title, template, gather, of_labels in _SECTIONS:
        if of_labels and not source.labelled.keys:
            continue
        values, content = gather(source) if gather else {}, None
        if "left_out" not in values:
            content = _render(template, source, **values)
        parts.append({"title": title, "content": content} | values)
    return _render("page", source, title=_title(source), sections=parts)


def _render(name, source, **values):
    template = _TEMPLATES.get_template(f"{name}.html.j2")
    found = source.results
    common = {
        "targets": found.targets,
        "facts": found.provenance,
        "noun": found.noun,
    }
    page = template.render(source=source, **common, **values)
    return markupsafe.Markup(page)


def _title(source):
    facts = source.results.provenance
    path = str(facts.model or source.options.results)
    name = pathlib.PurePath(path).name or path
    if facts.members:
        name = f"Fusion of {len(facts.members)} runs"
    return f"{name} on the {facts.split} split" if facts.split else name
