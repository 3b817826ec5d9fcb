"""The reader of each corpus, by the name that --corpus takes."""

from collections.abc import Callable
from pathlib import Path

from affwild_omg.corpora import afewva, affwild, affwild2, framelist, omg
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.problems import Problems

# Each takes the source, what collects problems, and one of `folders.FRAMES`.
READERS: dict[str, Callable[[Path | str, Problems, str], list[Clip]]] = {
    "omg": omg.read,
    "affwild": affwild.read,
    "affwild2": affwild2.read,
    "framelist": framelist.read,
    "afewva": afewva.read,
}
