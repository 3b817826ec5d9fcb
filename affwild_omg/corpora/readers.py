"""The reader of each corpus, by the name that --corpus takes.

    read(source, problems, frames) -> clips

takes the folder that holds all, what collects a line on all that is left out,
and one of `folders.FRAMES`: whether clips are films (or whole pictures) or
crops. Clips come by split and name, or as the tables list them; their files
need not be there. It raises UserError if the source is no folder or holds no
good annotation, or if the corpus has no such frames.
"""

from collections.abc import Callable
from pathlib import Path

from affwild_omg.corpora import afewva, affwild, affwild2, framelist, omg
from affwild_omg.corpora.clips import Clip
from affwild_omg.corpora.problems import Problems

READERS: dict[str, Callable[[Path | str, Problems, str], list[Clip]]] = {
    "omg": omg.read,
    "affwild": affwild.read,
    "affwild2": affwild2.read,
    "framelist": framelist.read,
    "afewva": afewva.read,
}
