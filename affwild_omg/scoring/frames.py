"""A split's predictions frame by frame: what every protocol starts from."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from affwild_omg.paper import windows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of a split, utterance by utterance, in the records' order.

    Attributes:
        keys: "<video>/<utterance>", [utterances]; those of one video in the
            order of time.
        targets: names of the columns of values and labels.
        values: of each utterance what was predicted, [time, targets]; without
            meaning where the mask is False.
        mask: of each utterance the frames with a face, [time], bool.
        labels: of each utterance the truth, [time, targets], NaN where there
            is none.
        times: of each utterance the seconds since its first frame, [time].
        sequence_length: frames of the windows that the network saw at a time.
        tail: how they were cut, see `paper.windows.cut`.
    """

    keys: Sequence[str]
    targets: tuple[str, ...]
    values: Sequence[np.ndarray]
    mask: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    times: Sequence[np.ndarray]
    sequence_length: int
    tail: str

    @property
    def videos(self) -> list[str]:
        """The video of each utterance."""
        return [video_of(key) for key in self.keys]

    @property
    def lengths(self) -> np.ndarray:
        """Frames of each utterance, with a face or without."""
        return np.array([len(mask) for mask in self.mask])

    @property
    def seen(self) -> np.ndarray:
        """Frames with a face of each utterance."""
        return np.array([np.count_nonzero(mask) for mask in self.mask])

    @property
    def durations(self) -> np.ndarray:
        """Seconds of each utterance.

        Its last frame lasts as long as the others on average; how long a lone
        frame lasts is not known, and taken for 0.
        """
        return np.array(
            [x[-1] * len(x) / max(1, len(x) - 1) for x in self.times]
        ).round(6)

    @functools.cached_property
    def counted(self) -> list[np.ndarray]:
        """Of each utterance the frames that count, [time, targets], bool.

        Those with a face and a label of the target. Where an utterance has
        none, all with a face.
        """
        counted = []
        for mask, labels in zip(self.mask, self.labels, strict=True):
            seen = np.broadcast_to(mask[:, np.newaxis], labels.shape)
            known = seen & np.isfinite(labels)
            counted.append(np.where(known.any(axis=0), known, seen))
        return counted

    def subset(self, chosen: np.ndarray) -> "Frames":
        """Returns the frames of some utterances, bool [utterances]."""
        places = np.flatnonzero(chosen)
        names = ("keys", "values", "mask", "labels", "times")
        parts = {x: [getattr(self, x)[i] for i in places] for x in names}
        return dataclasses.replace(self, **parts)

    def sequences(self, utterance: int) -> list[slice]:
        """Returns which frames of an utterance each sequence holds.

        Those that are scored in its window: each is in one sequence.
        """
        frames = len(self.mask[utterance])
        return [
            slice(window.scored, window.stop)
            for window in windows.cut(frames, self.sequence_length, self.tail)
        ]


def video_of(key: str) -> str:
    """Returns the video of "<video>/<utterance>"."""
    return key.rsplit("/", 1)[0]
