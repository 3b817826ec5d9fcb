"""Tabulating: the paper's tables, what was measured beside what was published.

Runs lie at `<runs>/<row's folder>/seed_<n>/test`, results folders each, see
`published.tables.Row.folder` and `evaluation.results`; `reproducing`
puts them there, and a `status.json` into the folder of a row that it could not
run. Nothing else is needed to lay a table out.
"""

import pathlib

from absl import logging

from affwild_omg.cli.errors import UserError
from affwild_omg.experiments.layout import lines, names, write
from affwild_omg.experiments.measuring import OTHERS, Tabulated, tabulate
from affwild_omg.experiments.options import TableOptions
from affwild_omg.experiments.runs import NOT_RUN, SEED
from affwild_omg.storage import files as outputs

__all__ = ["TableOptions", "Tabulated", "lines", "make", "names", "tabulate"]


def make(options: TableOptions, *, overwrite: bool = False) -> Tabulated:
    """Lays out a table and writes its files.

    Raises:
        UserError: the output can't be used, or a results folder below the runs
            can't be read.
    """
    files = names(options.table)
    # Other tables may stand in the folder: they are no reason to refuse.
    there = [n for n in files if pathlib.Path(options.output, n).exists()]
    if there and not overwrite:
        raise UserError(
            f"--output={options.output} holds {there[0]}; name another folder "
            "or give --overwrite to replace it"
        )
    with outputs.atomic_directory(
        options.output, flag="--output", overwrite=True, owned=files
    ) as directory:
        tabulated = tabulate(options.table, options.runs)
        if all(row["state"] in (NOT_RUN, OTHERS) for row in tabulated.rows):
            logging.warning(
                "--runs=%s holds no run of table %d; it should hold folders "
                "like %s/%s",
                options.runs,
                options.table,
                next(row["folder"] for row in tabulated.rows if row["folder"]),
                SEED.format(0),
            )
        write(directory, tabulated)
    return tabulated
