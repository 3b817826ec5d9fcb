"""A split's predictions frame by frame: what every protocol starts from."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frames:
    """The frames of a split, utterance by utterance, in the records' order.

    Attributes:
        keys: "<video>/<utterance>", [utterances]; those of one video in the
            order of time.
        targets: names of the columns of values and labels.
        values: of each utterance what was predicted, [time, targets]; without
            meaning where the mask is False.
        mask: of each utterance the frames that count, [time], bool.
        labels: of each utterance the truth, [time, targets], NaN where there
            is none.
        fps: frames a second of each utterance, [utterances].
        sequence_length: frames of the windows that the network saw at a time,
            cut from an utterance's first frame on; the last may be shorter.
    """

    keys: Sequence[str]
    targets: tuple[str, ...]
    values: Sequence[np.ndarray]
    mask: Sequence[np.ndarray]
    labels: Sequence[np.ndarray]
    fps: Sequence[float]
    sequence_length: int

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
    def utterance_labels(self) -> np.ndarray:
        """The mean label of each utterance, [utterances, targets].

        NaN where one of its frames has none.
        """
        return np.stack([np.mean(x, axis=0, dtype=float) for x in self.labels])

    def sequences(self, utterance: int) -> list[slice]:
        """Returns which frames of an utterance each sequence holds."""
        return [
            slice(start, start + self.sequence_length)
            for start in range(
                0, len(self.mask[utterance]), self.sequence_length
            )
        ]


def video_of(key: str) -> str:
    """Returns the video of "<video>/<utterance>"."""
    return key.rsplit("/", 1)[0]
