"""The feature cache: what a fixed CNN makes of each frame, computed once.

A folder for each set of records and fixed weights, named after both, holds a
NumPy file for each clip, `<split>/<video>/<utterance>.npy`: float16 [frames,
features], all taps side by side.
"""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from absl import logging

from affwild_omg.cli import progress, wording
from affwild_omg.cli.errors import UserError
from affwild_omg.data.manifest import Clip
from affwild_omg.data.records import CHUNK, decode, parse
from affwild_omg.storage import files

SUFFIX = ".npy"
_KIND = np.dtype(np.float16)


class Cache:
    """The features of clips, on disk.

    Attributes:
        sizes: {tap: features of a frame}, in the order of the files' columns.
    """

    def __init__(
        self, folder: os.PathLike | str, key: str, sizes: Mapping[str, int]
    ):
        """Names a cache, which may be there already.

        Args:
            folder: of all caches.
            key: of records and fixed weights.
            sizes: see `sizes`.
        """
        self.sizes = dict(sizes)
        self._folder = pathlib.Path(folder, key)

    def fill(
        self,
        clips: Iterable[Clip],
        compute: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    ) -> None:
        """Computes the features that are not there yet.

        Each file appears whole, so that what an interruption leaves is used.

        Args:
            clips: of the records.
            compute: from uint8 [frames, 96, 96, 3] to {tap: [frames,
                features]}.

        Raises:
            UserError: the disk has too little space, or a feature is beyond
                float16.
            OSError: a file cannot be written.
            Damaged: a record is, see `Manifest.reading`.
        """
        missing = [
            (path, clip)
            for clip in clips
            if self._open(path := self._path(clip), clip) is None
        ]
        if not missing:
            logging.info("features are taken from %s", self._folder)
            return
        width = sum(self.sizes.values())
        need = sum(_KIND.itemsize * width * clip.frames for _, clip in missing)
        remove = files.make_folder(self._folder)
        try:
            free = shutil.disk_usage(self._folder).free
            logging.info(
                "features of %s take %s in %s, which has %s free",
                wording.count(sum(clip.frames for _, clip in missing), "frame"),
                *(_gigabytes(need), self._folder, _gigabytes(free)),
            )
            if need > free:
                raise UserError(
                    f"--cache_features: the features need {_gigabytes(need)}, "
                    f"and {self._folder} has {_gigabytes(free)} free; name "
                    "another folder, or fewer or smaller --taps"
                )
            for path, clip in progress.bar(
                missing, description="features", unit="clip"
            ):
                try:
                    self._write(path, clip, compute)
                except OSError as error:
                    error.filename = error.filename or str(path)
                    raise
        finally:
            remove()

    def _write(self, path, clip, compute):
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = clip.frames, sum(self.sizes.values())
        with (
            files.whole(path, contended=True) as unfinished,
            # Not by a memory map, which a full disk ends by a signal.
            unfinished.open("wb") as file,
        ):
            header = {"descr": _KIND.str, "fortran_order": False}
            np.lib.format.write_array_header_1_0(
                file, header | {"shape": shape}
            )
            for start in range(0, clip.frames, CHUNK):
                stop = min(start + CHUNK, clip.frames)
                images = parse(clip.read(start, stop))["image"]
                found = compute(np.stack([decode(x) for x in images]))
                with np.errstate(over="ignore"):
                    columns = [found[x].astype(_KIND) for x in self.sizes]
                values = np.concatenate(columns, axis=1)
                if not np.isfinite(values).all():
                    raise UserError(
                        f"--cache_features: {clip.key} has features that are "
                        "no numbers of float16, which ends at 65504; leave "
                        "the flag out"
                    )
                file.write(values.tobytes())

    def read(self, clip: Clip, start: int, stop: int) -> np.ndarray:
        """Reads the features of some frames.

        Args:
            clip: of the records.
            start: the first frame.
            stop: the frame behind the last.

        Returns:
            float16 [frames, features].

        Raises:
            UserError: the file is not there, or is another.
        """
        values = self._open(path := self._path(clip), clip)
        if values is None:
            raise UserError(
                f"--cache_features: {path} is gone, or another, since the "
                "training began; the same command with --resume makes it anew"
            )
        return np.array(values[start:stop])

    def _open(self, path, clip):
        """Returns the array of a file; None unless it is as it must be."""
        with contextlib.suppress(OSError, ValueError):
            values = np.load(path, mmap_mode="r")
            if values.shape == (clip.frames, sum(self.sizes.values())):
                return values if values.dtype == _KIND else None
        return None

    def _path(self, clip):
        split = clip.path.parents[1].name
        return self._folder / split / clip.video / f"{clip.utterance}{SUFFIX}"


def _gigabytes(size):
    return f"{size / 1e9:.3g} GB"
