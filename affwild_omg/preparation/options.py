"""Options of preparation: the flags of affwild_omg.prepare."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option

CORPORA = ("omg",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationOptions(options.Checked):
    """Which corpus is prepared, from where, to where and how."""

    corpus: str = option(
        "The corpus, which says how --source is read.", choices=CORPORA
    )
    source: str = option(
        "Folder with the corpus' tables, and clips at <video>/<utterance>."
    )
    records: str = option("Folder for the records.")
    detect_every: int = option(
        "Frames from one face detection to the next; landmarks are tracked in "
        "between.",
        24,
        least=1,
    )
    workers: int = option("Processes; 0 takes one a core.", 0, least=0)
