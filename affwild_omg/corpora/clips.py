"""The record that every corpus reader yields."""

import array
import dataclasses
import pathlib
from collections.abc import Sequence

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """One utterance (or whole video) of a corpus and what is known of it.

    Attributes:
        split: one of `SPLITS`.
        video: the corpus' id of the video that the clip was cut from.
        utterance: the corpus' name of the clip, such as "utterance_4.mp4".
        path: the clip's video file, or the folder of its pictures; it need not
            exist.
        valence: in [-1, 1], or None where the corpus gives no label.
        arousal: in [0, 1] for OMG-Emotion, or None.
        frame_labels: of corpora with a label for each frame: valence and
            arousal by the frame's number in the film, in [-1, 1], NaN where a
            frame is not annotated; else None.
        pictures: of clips that are no video file: the picture of each frame,
            relative to `path`, "" where a frame has none; else None.
        side: "left" or "right" of two people, as the picture shows them; None
            for the main person.
        source: where the video comes from, such as its address, or None.
        person: the corpus' name of who is seen, or None.
    """

    split: str
    video: str
    utterance: str
    path: pathlib.Path
    valence: float | None = None
    arousal: float | None = None
    frame_labels: tuple[array.array, array.array] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    pictures: Sequence[str] | None = dataclasses.field(
        default=None, compare=False, repr=False
    )
    side: str | None = None
    source: str | None = None
    person: str | None = None

    @property
    def key(self) -> str:
        """The clip's name across the corpus: "<video>/<utterance>"."""
        return f"{self.video}/{self.utterance}"

    @property
    def found(self) -> bool:
        """Whether its video file, or a picture of it, is there."""
        if self.pictures is None:
            return self.path.is_file()
        return any(
            name and (self.path / name).is_file() for name in self.pictures
        )

    @property
    def rows(self) -> int:
        """How many frames are listed by labels; 0 if labels are by clip."""
        return len(self.frame_labels[0]) if self.frame_labels else 0
