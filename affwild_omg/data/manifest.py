"""The manifest of a records folder, and the clips that it lists.

`manifest.json` says of each split what was expected, found and prepared, and of
each clip its frames, its mean labels, and the size and checksum of each record.
Nothing is read but what it lists, and all of it: a file that is cut off, or
holds other records, is refused.
"""

import contextlib
import dataclasses
import json
import pathlib
import re
import zlib
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data.records import CHUNK, FRAMING, SCHEMA_VERSION, SUFFIX
from affwild_omg.paper.task import TARGETS
from affwild_omg.storage import files

MANIFEST = "manifest.json"
_REMEDY = (
    "make the records again with python -m affwild_omg.prepare --overwrite"
)
# What JSON that is something else raises when it is read.
_MALFORMED = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)


class Damaged(Exception):
    """A records file that does not hold what the manifest says."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A prepared clip.

    Attributes:
        video: id of the video.
        utterance: name of the utterance.
        path: its records file.
        frames: how many it has, with a face or without.
        labels: means of valence and arousal over the frames that have them,
            NaN where none has, [2].
        labelled: frames with a face and a label of valence, or of arousal,
            [2].
        varies: whether these have different labels, [2], bool.
        sizes: bytes of each record, [records].
        checksums: CRC-32 of each record, [records].
        source: where the video comes from, None if it is not known.
        person: the corpus' name of who is seen, likewise.
    """

    video: str
    utterance: str
    path: pathlib.Path
    frames: int
    labels: np.ndarray
    labelled: np.ndarray
    varies: np.ndarray
    sizes: np.ndarray
    checksums: np.ndarray
    source: str | None = None
    person: str | None = None

    @property
    def key(self) -> str:
        """ "<video>/<utterance>"."""
        return f"{self.video}/{self.utterance}"

    @property
    def group(self) -> str:
        """Its person, else its source, else its video."""
        return self.person or self.source or self.video

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return int(self.sizes.sum() + sum(FRAMING) * len(self.sizes))

    def read(self, start: int, stop: int) -> list[bytes]:
        """Reads the records that hold some frames.

        Args:
            start: the first frame; its record begins at the multiple of
                `records.CHUNK` at or before it.
            stop: the frame behind the last, at most `frames`.

        Raises:
            Damaged: the file lacks them, or has others in their place.
        """
        first, last = start // CHUNK, (stop - 1) // CHUNK
        before, behind = FRAMING
        place = int(self.sizes[:first].sum()) + sum(FRAMING) * first
        sizes = self.sizes[first : last + 1].tolist()
        found = []
        try:
            with self.path.open("rb") as file:
                file.seek(place)
                data = file.read(sum(sizes) + sum(FRAMING) * len(sizes))
        except OSError as error:
            raise Damaged(f"{self.path}: {error.strerror}") from error
        at = 0
        for number, size in enumerate(sizes, first):
            at += before
            record = data[at : at + size]
            if zlib.crc32(record) != self.checksums[number]:
                raise Damaged(
                    f"{self.path}: record {number} of {len(self.sizes)} is "
                    f"damaged or not the one that {MANIFEST} lists"
                )
            found.append(record)
            at += size + behind
        return found


def read(records: pathlib.Path | str) -> dict:
    """Reads the manifest of a records folder.

    Raises:
        UserError: there is none, it cannot be read, or its schema is another.
    """
    path = pathlib.Path(records) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, _ = manifest["schema_version"], manifest["splits"].items()
    except FileNotFoundError as error:
        raise UserError(
            f"--records={records} holds no {MANIFEST}; make records with "
            "python -m affwild_omg.prepare"
        ) from error
    except (*_MALFORMED, OSError) as error:
        raise UserError(
            f"{path} is not a manifest of records ({error!r}); {_REMEDY}"
        ) from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}: {_REMEDY}"
        )
    return manifest


def splits(records: pathlib.Path | str) -> dict[str, list[Clip]]:
    """Returns the clips of each split that has any, in the manifest's order.

    Raises:
        UserError: the manifest cannot be used.
    """
    found = {}
    for split, part in read(records)["splits"].items():
        try:
            listing = [
                # Other splits of the same records say where a clip lies.
                _clip(pathlib.Path(records, x.get("folder", split)), x)
                for x in part["utterances"]
            ]
            keys = [clip.key for clip in listing]
            _compare("utterances", part["prepared"], len(keys))
            _compare("different utterances", len(keys), len(set(keys)))
            _compare("frames", part["frames"], sum(x.frames for x in listing))
            if part["expected"] < len(keys):
                raise ValueError(f"{len(keys)} of {part['expected']} prepared")
        except _MALFORMED as error:
            raise UserError(
                f"{pathlib.Path(records, MANIFEST)} does not list the clips of "
                f"{split} as it must ({error!r}); {_REMEDY}"
            ) from error
        if listing:
            found[split] = listing
    return found


def clips(
    records: pathlib.Path | str, split: str, held_out: Collection[str] = ()
) -> list[Clip]:
    """Returns the clips of a split, in the manifest's order.

    Args:
        records: the folder.
        split: of the manifest.
        held_out: keys of clips of train that are the validation split of
            records that have none, and no clips of train then.

    Raises:
        UserError: the manifest cannot be used, or has no such split, or not
            all that was held out.
    """
    found, held = splits(records), set(held_out)
    if held and "validation" not in found:
        train = found.pop("train", [])
        held_clips = [clip for clip in train if clip.key in held]
        if split == "validation" and len(held_clips) < len(held):
            raise UserError(
                f"--records={records} has {len(held_clips)} of the {len(held)} "
                "clips that the training held out as its validation split; "
                "give the records that it was made on"
            )
        rest = [clip for clip in train if clip.key not in held]
        parts = {"train": rest, "validation": held_clips}
        found |= {name: part for name, part in parts.items() if part}
    if split not in found:
        raise UserError(
            f"--records={records} has no utterance of split {split!r}; it "
            f"has {', '.join(found) or 'none at all'}"
        )
    return found[split]


def _compare(what, stated, found):
    if stated != found:
        raise ValueError(f"{stated} {what} prepared, {found} listed")


def _clip(folder, entry):
    sizes, checksums = np.array(entry["chunks"], np.int64).T
    frames = entry["frames"]
    if type(frames) is not int or len(sizes) != -(-frames // CHUNK):
        raise ValueError(
            f"{entry['utterance']}: {len(sizes)} records of {frames} frames"
        )
    labels = [entry["labels"][name] for name in TARGETS]
    return Clip(
        video=entry["video"],
        utterance=entry["utterance"],
        path=folder / entry["video"] / f"{entry['utterance']}{SUFFIX}",
        frames=frames,
        labels=np.array([label["mean"] for label in labels], float),
        labelled=np.array([label["frames_with_face"] for label in labels]),
        varies=np.array([label.get("varies", False) for label in labels]),
        sizes=sizes,
        checksums=checksums,
        source=_name(entry, "source"),
        person=_name(entry, "person"),
    )


def _name(entry, fact):
    name = entry.get(fact)
    if not (name is None or isinstance(name, str) and name):
        raise ValueError(f"{entry['utterance']}: {fact} {name!r} is no name")
    return name


def check(
    records: pathlib.Path | str,
    split: str,
    *,
    labels: Sequence[str] = (),
    held_out: Collection[str] = (),
) -> None:
    """Checks that a split's files are there and as long as they must be.

    Every pass reads them against the manifest anyway; this tells it before a
    long one begins.

    Args:
        records: the folder.
        split: of the manifest.
        labels: targets of which some frame with a face must have a label.
        held_out: see `clips`.

    Raises:
        UserError: as `clips`; or a file is missing or of another size, or a
            target has no label.
    """
    found = clips(records, split, held_out)
    for name in labels:
        column = TARGETS.index(name)
        bare = [clip.key for clip in found if not clip.labelled[column]]
        if len(bare) == len(found):
            raise UserError(
                f"--records={records}: no frame with a face in {split} has a "
                f"label of {name}; prepare them from a table that has it"
            )
        if bare:
            logging.warning(
                "%d of %d clips of %s have no face with a label of %s, and do "
                "not count in it: %s",
                *(len(bare), len(found), split, name, listed(bare)),
            )
    for clip in found:
        try:
            size = clip.path.stat().st_size
        except OSError as error:
            raise UserError(
                f"{clip.path} is missing although {MANIFEST} lists it; "
                f"{_REMEDY}"
            ) from error
        if size != clip.size:
            raise UserError(
                f"{clip.path} has {size} bytes, but {MANIFEST} says "
                f"{clip.size}: it is cut off, or of other records; {_REMEDY}"
            )


def digest(records: pathlib.Path | str) -> str:
    """Returns the SHA-256 of the manifest, by which results name records."""
    return files.digest(pathlib.Path(records, MANIFEST))


@contextlib.contextmanager
def reading(records: pathlib.Path | str, split: str) -> Iterator[None]:
    """Tells errors of reading a split apart from those of what is done with it.

    Raises:
        UserError: a record that is read in the block is damaged, or the block
            cannot use what it reads.
    """
    try:
        yield
    except UserError as error:
        raise UserError(f"--records={records}, {split}: {error}") from error
    except Damaged as error:
        raise UserError(f"{error}; {_REMEDY}") from error
    except tf.errors.OpError as error:
        # What is raised within tf.data comes out as a text.
        found = re.search(rf"{Damaged.__name__}: (.*)", error.message or "")
        if not found:
            raise
        raise UserError(f"{found[1]}; {_REMEDY}") from error
