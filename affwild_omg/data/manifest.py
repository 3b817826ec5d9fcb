"""The manifest of a records folder, and the clips that it lists.

`manifest.json` says of each split what was expected, found and prepared, and of
each clip its frames, its mean labels, and the size and checksum of each record.
Nothing is read but what it lists, and all of it: a file that is cut off, or
holds other records, is refused.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf
from absl import logging

from affwild_omg.cli.errors import UserError, listed
from affwild_omg.data.records import CHUNK, FRAMING, SCHEMA_VERSION, SUFFIX
from affwild_omg.paper.task import PREPARATION, TARGETS
from affwild_omg.paper.treatment import Treatment
from affwild_omg.storage import files, remote

MANIFEST = "manifest.json"
_REMEDY = (
    "make the records again with python -m affwild_omg.prepare --overwrite"
)
_MENDING = (
    "the command that prepared the records, without --shard or --merge, makes "
    "anew what is damaged; python -m affwild_omg.prepare --verify names all of "
    "it; if that finds nothing, they were replaced meanwhile"
)
# What JSON that is something else raises when it is read.
_MALFORMED = (
    *(ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)


_QUESTIONS = 16  # on files, that are asked at the same time


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

    @property
    def chunks(self) -> list[list[int]]:
        """[size, checksum] of each record, as `records.write_clip` says."""
        return np.stack([self.sizes, self.checksums], axis=1).tolist()

    def read(self, start: int, stop: int) -> list[bytes]:
        """Reads the records that hold some frames.

        Args:
            start: the first frame; its record begins at the multiple of
                `records.CHUNK` at or before it.
            stop: the frame behind the last, at most `frames`.

        Raises:
            Damaged: the file lacks them, or has others in their place.
            ConnectionError: its server does not answer.
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
        except ConnectionError as error:
            raise ConnectionError(f"{self.path}: {error.strerror}") from error
        except OSError as error:
            raise Damaged(f"{self.path}: {error.strerror}") from error
        at = 0
        for number, size in enumerate(sizes, first):
            at += before
            record = data[at : at + size]
            if zlib.crc32(record) != self.checksums[number]:
                raise Damaged(
                    f"{self.path}: record {number + 1} of {len(self.sizes)} is "
                    f"damaged or not the one that {MANIFEST} lists"
                )
            found.append(record)
            at += size + behind
        return found

    def check_size(self) -> None:
        """Checks that the file is there and as long as it must be.

        Raises:
            Damaged: it is not.
        """
        try:
            size = self.path.stat().st_size
        except files.WRONG_PATH as error:
            raise Damaged(
                f"{self.path} is missing although {MANIFEST} lists it"
            ) from error
        if size != self.size:
            raise Damaged(
                f"{self.path} has {size} bytes, but {MANIFEST} says "
                f"{self.size}: it is cut off, or of other records"
            )

    def damage(self) -> str | None:
        """Reads the whole file; returns in words what is damaged, if it is."""
        try:
            self.check_size()
        except Damaged as error:
            faults = [str(error)]
        else:
            faults = []
        damaged = []
        for number in range(len(self.sizes) if self.path.exists() else 0):
            try:
                self.read(number * CHUNK, number * CHUNK + 1)
            except Damaged:
                damaged.append(str(number + 1))
        if damaged:
            faults.append(
                f"{self.path}: record {listed(damaged)} of {len(self.sizes)} "
                f"damaged or not what {MANIFEST} lists"
            )
        if not faults:
            try:  # What TensorFlow's readers go by, around each record.
                with files.local(self.path) as path:
                    for _ in tf.data.TFRecordDataset(str(path)):
                        pass
            except tf.errors.OpError as error:
                faults.append(
                    f"{self.path}: a length or checksum between its records "
                    f"is damaged ({error.message})"
                )
        return "; ".join(faults) or None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Manifest:
    """What the manifest of a records folder says, see `read`.

    Attributes:
        folder: of the records.
        content: the manifest as JSON has it.
        digest: its SHA-256, by which results name records.
        splits: the clips of each split that has any, in the manifest's order.
        held_out: keys of those clips of train that are the validation split.
        added: other records, whose train splits stand in this one, too.
        treatment: of the films.
    """

    folder: pathlib.Path | str
    content: dict
    digest: str
    splits: Mapping[str, list[Clip]]
    held_out: Sequence[str] = ()
    added: Sequence["Manifest"] = ()
    treatment: Treatment = Treatment()

    def holding_out(self, keys: Sequence[str]) -> "Manifest":
        """Takes clips of train for validation if there is no such split."""
        if not keys or "validation" in self.splits:
            return self
        parts, held = {"train": [], "validation": []}, set(keys)
        for clip in self.splits.get("train", ()):
            parts["validation" if clip.key in held else "train"].append(clip)
        splits = {name: x for name, x in self.splits.items() if name != "train"}
        splits |= {name: part for name, part in parts.items() if part}
        return dataclasses.replace(self, splits=splits, held_out=keys)

    def compare(
        self,
        learned: Treatment | None,
        model: str,
        *,
        flag: str = "--records",
        other_landmarks: bool | None = False,
    ) -> None:
        """Tells where a model learned from other films than these.

        Args:
            learned: how those were treated; None where that is not known.
            model: words for the model.
            flag: that names these records.
            other_landmarks: whether those of another model are taken, too;
                None where no flag can ask for that.

        Raises:
            UserError: landmarks are of another model.
        """
        differing = learned.unlike(self.treatment) if learned else {}
        for name, (before, here) in differing.items():
            line = (
                f"{model} learned from {before}, and predict gives it such, "
                f"but {flag}={self.folder} have {here}"
            )
            if name == "landmarks" and not other_landmarks:
                ways = ["give records of the same"]
                if other_landmarks is not None:
                    ways.append("or --other_landmarks to take these")
                raise UserError(f"{line}; {', '.join(ways)}")
            logging.warning("%s", line)

    def adding(self, other: "Manifest") -> "Manifest":
        """Adds the train split of other records to that of these.

        Raises:
            UserError: the others have none, or one of the same clips, or
                other landmarks, or another frame rate.
        """
        more = other.clips("train")
        for name, (own, others) in self.treatment.unlike(
            other.treatment
        ).items():
            line = (
                f"--records={self.folder},{other.folder}: one has {own}, the "
                f"other {others}"
            )
            if name != "crop_format":
                raise UserError(f"{line}; prepare both with the same --{name}")
            logging.warning(
                "%s; the network learns from both, and predict will give it "
                "%s, by which the best epoch is chosen",
                *(line, own),
            )
        keys = {clip.key for clips in self.splits.values() for clip in clips}
        if twice := [clip.key for clip in more if clip.key in keys]:
            raise UserError(
                f"--records={self.folder},{other.folder}: both have "
                f"{listed(twice)}; name records of different clips"
            )
        train = self.clips("train") + more
        return dataclasses.replace(
            self,
            folder=f"{self.folder},{other.folder}",
            splits={**self.splits, "train": train},
            added=[*self.added, other],
        )

    def corpora(self) -> list[list[Clip]]:
        """Returns the clips of train, first its own, then those added."""
        added = [other.clips("train") for other in self.added]
        train = self.clips("train")
        return [train[: len(train) - sum(map(len, added))], *added]

    def clips(self, split: str) -> list[Clip]:
        """Returns the clips of a split.

        Raises:
            UserError: there is no such split, or not all that was held out.
        """
        found = self.splits.get(split, [])
        if split == "validation" and len(found) < len(self.held_out):
            raise UserError(
                f"--records={self.folder} has {len(found)} of the "
                f"{len(self.held_out)} clips that the training held out as its "
                "validation split; give the records that it was made on"
            )
        if not found:
            raise UserError(
                f"--records={self.folder} has no utterance of split {split!r}; "
                f"it has {', '.join(self.splits) or 'none at all'}"
            )
        return found

    def check(self, split: str, *, labels: Sequence[str] = ()) -> None:
        """Checks that a split's files are there and as long as they must be.

        Every pass reads them against the manifest anyway; this tells it before
        a long one begins.

        Args:
            split: of the manifest.
            labels: targets of which some frame with a face must have a label.

        Raises:
            UserError: as `clips`; or a file is missing or of another size, or
                a target has no label.
        """
        found = self.clips(split)
        for name in labels:
            column = TARGETS.index(name)
            bare = [clip.key for clip in found if not clip.labelled[column]]
            if len(bare) == len(found):
                raise UserError(
                    f"--records={self.folder}: no frame with a face in {split} "
                    f"has a label of {name}; prepare them from a table that "
                    "has it"
                )
            if bare:
                logging.warning(
                    "%d of %d clips of %s have no face with a label of %s, and "
                    "do not count in it: %s",
                    *(len(bare), len(found), split, name, listed(bare)),
                )
        with self.reading(split):
            # Of a remote file this waits for an answer.
            with ThreadPoolExecutor(_QUESTIONS) as pool:
                for _ in pool.map(Clip.check_size, found):
                    pass

    @contextlib.contextmanager
    def reading(self, split: str) -> Iterator[None]:
        """Tells errors of reading a split from those of what is done with it.

        Raises:
            UserError: a record that is read in the block is damaged, the
                block cannot use what it reads, or those who read for it fail.
            ConnectionError: the server of one does not answer.
        """
        try:
            yield
        except UserError as error:
            raise UserError(
                f"--records={self.folder}, {split}: {error}"
            ) from error
        except Damaged as error:
            raise UserError(f"{error}; {_MENDING}") from error
        except tf.errors.OpError as error:
            # What is raised within tf.data comes out as a text.
            kinds = [Damaged, ConnectionError, UserError]
            names = "|".join(kind.__name__ for kind in kinds)
            found = re.search(rf"\b({names}): (.*)", error.message or "")
            if not found:
                raise
            for kind in (ConnectionError, UserError):
                if found[1] == kind.__name__:
                    raise kind(found[2]) from error
            raise UserError(f"{found[2]}; {_MENDING}") from error


def read(records: pathlib.Path | str) -> Manifest:
    """Reads the manifest of a records folder.

    Raises:
        UserError: there is none, its schema or its preparation is another, or
            it does not hold together.
    """
    path = remote.path(records) / MANIFEST
    try:
        data = path.read_bytes()
        content = json.loads(data.decode())
        version, parts = content["schema_version"], content["splits"].items()
        treatment = Treatment.read(content)
    except (UserError, ConnectionError):  # it could not be looked for
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(
            f"--records={records} holds no {MANIFEST}; make records with "
            "python -m affwild_omg.prepare"
        ) from error
    except _MALFORMED as error:
        raise UserError(
            f"{path} is not a manifest of records ({error!r}); {_REMEDY}"
        ) from error
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}; this version reads "
            f"{SCHEMA_VERSION}: {_REMEDY}"
        )
    if (number := content.get("preparation", 1)) != PREPARATION:
        raise UserError(
            f"{path}: its faces were cut out by preparation {number}, and this "
            f"version has {PREPARATION}: {_REMEDY}"
        )
    splits = {}
    for split, part in parts:
        try:
            clips = _clips(remote.path(records), split, part)
        except _MALFORMED as error:
            raise UserError(
                f"{path} does not list the clips of {split} as it must "
                f"({error!r}); {_REMEDY}"
            ) from error
        if clips:
            splits[split] = clips
    return Manifest(
        folder=records,
        content=content,
        digest=hashlib.sha256(data).hexdigest(),
        splits=splits,
        treatment=treatment,
    )


def labels_vary(clips: Sequence[Clip], targets: Sequence[str]) -> bool:
    """Tells whether labels of a target differ within a clip, by frame."""
    columns = [TARGETS.index(name) for name in targets]
    return any(clip.varies[columns].any() for clip in clips)


def _clips(folder, split, part):
    """Returns the clips of a split, which must be as its sums say."""
    clips = [
        # Other splits of the same records say where a clip lies.
        _clip(folder / entry.get("folder", split), entry)
        for entry in part["utterances"]
    ]
    keys = {clip.key for clip in clips}
    _compare("utterances", part["prepared"], len(clips))
    _compare("different utterances", len(clips), len(keys))
    _compare("frames", part["frames"], sum(clip.frames for clip in clips))
    if part["expected"] < len(clips):
        raise ValueError(f"{len(clips)} of {part['expected']} prepared")
    return clips


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
