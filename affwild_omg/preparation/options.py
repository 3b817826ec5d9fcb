"""Options of preparation: the flags of affwild_omg.prepare."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option
from affwild_omg.corpora.readers import READERS
from affwild_omg.paper.task import DETECT_EVERY


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationOptions(options.Checked):
    """Which corpus is prepared, from where, to where and how."""

    corpus: str = option(
        "The corpus, which says how --source is read.", choices=READERS
    )
    source: str = option(
        "Folder with the corpus' tables, and clips at <video>/<utterance>.",
        exists=True,
    )
    records: str = option("Folder for the records.")
    detect_every: int = option(
        "Frames from one face detection to the next; landmarks are tracked in "
        "between.",
        DETECT_EVERY,
        least=1,
    )
    preview: bool = option(
        "Draw a sheet of each clip, <records>/previews/<split>/<video>/"
        "<utterance>.png: its frames, boxes, landmarks, and why there is no "
        "face.",
        False,
    )
    workers: int = option("Processes; 0 takes one per core.", 0, least=0)
