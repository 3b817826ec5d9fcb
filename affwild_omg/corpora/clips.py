"""The record that every corpus reader yields."""

import dataclasses
import pathlib

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance (or whole video) of a corpus and what is known of it.

    Attributes:
        split: one of `SPLITS`.
        video: the corpus' id of the video that the clip was cut from.
        utterance: the corpus' name of the clip, such as "utterance_4.mp4".
        path: the clip's video file; it need not exist.
        valence: in [-1, 1], or None where the corpus gives no label.
        arousal: in [0, 1] for OMG-Emotion, or None.
        source: where the video comes from, such as its address, or None.
        person: the corpus' name of who is seen, or None.
    """

    split: str
    video: str
    utterance: str
    path: pathlib.Path
    valence: float | None = None
    arousal: float | None = None
    source: str | None = None
    person: str | None = None

    @property
    def key(self) -> str:
        """The clip's name across the corpus: "<video>/<utterance>"."""
        return f"{self.video}/{self.utterance}"
