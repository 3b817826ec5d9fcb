"""Options of corpora: the flags of affwild_omg.describe, and of prepare."""

import dataclasses

from affwild_omg.cli import options
from affwild_omg.cli.options import option
from affwild_omg.corpora.folders import FRAMES, VIDEO
from affwild_omg.corpora.readers import READERS


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorpusOptions(options.Checked):
    """Which corpus is read, and where."""

    corpus: str = option(
        "The corpus, which says how --source is read.", choices=READERS
    )
    source: str = option(
        "Folder with the corpus' annotations, and its videos or crops; "
        "docs/corpora.md shows the layouts.",
        exists=True,
        address=True,
    )
    frames: str = option(
        "Where frames come from: videos (or whole pictures), or the corpus' "
        "ready crops, which need no detector.",
        VIDEO,
        choices=FRAMES,
    )
    strict: bool = option(
        "End with the first problem of the corpus, instead of telling each and "
        "going on.",
        False,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DescriptionOptions(CorpusOptions):
    """Which corpus is described, and where the description goes."""

    output: str = option(
        "Folder for description.txt and labels.png.", address=True
    )
