"""The reader of each corpus, by the name that --corpus takes."""

from collections.abc import Callable
from pathlib import Path

from affwild_omg.corpora import omg
from affwild_omg.corpora.clips import Clip

READERS: dict[str, Callable[[Path | str], list[Clip]]] = {"omg": omg.read}
