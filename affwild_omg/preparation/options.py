"""Options of preparation: the flags of affwild_omg.prepare."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option
from affwild_omg.corpora.folders import FRAMES, VIDEO
from affwild_omg.corpora.readers import READERS
from affwild_omg.paper.task import DETECT_EVERY


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparationOptions(options.Checked):
    """Which corpus is prepared, from where, to where and how."""

    corpus: str = option(
        "The corpus, which says how --source is read.", choices=READERS
    )
    source: str = option(
        "Folder with the corpus' annotations, and its videos or crops; "
        "docs/corpora.md shows the layouts.",
        exists=True,
    )
    records: str = option("Folder for the records.")
    frames: str = option(
        "Where frames come from: videos (or whole pictures), or the corpus' "
        "ready crops, which need no detector.",
        VIDEO,
        choices=FRAMES,
    )
    fps: float = option(
        "Frames a second of clips that are pictures.", 25.0, least=1
    )
    strict: bool = option(
        "End with the first problem of the corpus, instead of telling each and "
        "going on.",
        False,
    )
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
