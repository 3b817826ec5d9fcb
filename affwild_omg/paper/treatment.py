"""How films become what a network sees; prediction does as records had it."""

import dataclasses
import math
from collections.abc import Mapping

DLIB, MEDIAPIPE = LANDMARKERS = ("dlib", "mediapipe")

# As what records keep crops. PNG keeps each pixel; JPEG changes them, with half
# the resolution of colour, in a third of the bytes.
PNG, JPEG = CROP_FORMATS = ("png", "jpeg")
JPEG_QUALITY = 95  # of 100; where it changes, crops do


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What was chosen for the films of records, and so of a model.

    Attributes:
        landmarks: whose model finds them, one of LANDMARKERS.
        max_fps: frames of a second that are kept, at most; None for all.
        crop_format: as what crops are kept, one of CROP_FORMATS.

    Raises:
        ValueError: one of these has no such value.
    """

    landmarks: str = DLIB
    max_fps: float | None = None
    crop_format: str = PNG

    def __post_init__(self):
        rate = self.max_fps
        for name, good in (
            ("landmarks", self.landmarks in LANDMARKERS),
            (
                "max_fps",
                rate is None
                or (isinstance(rate, (int, float)) and 0 < rate < math.inf),
            ),
            ("crop_format", self.crop_format in CROP_FORMATS),
        ):
            if not good:
                raise ValueError(f"{name} is {getattr(self, name)!r}")

    @classmethod
    def read(cls, content: Mapping) -> "Treatment":
        """Takes what a JSON object has of it; what it lacks is as it was."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: content[name] for name in names if name in content})

    def words(self) -> dict[str, str]:
        """Returns each attribute in words."""
        rate = "all frames of its films"
        if self.max_fps:
            rate = f"at most {self.max_fps:g} frames a second"
        return {
            "landmarks": f"landmarks by {self.landmarks}",
            "max_fps": rate,
            "crop_format": f"crops as {self.crop_format}",
        }

    def unlike(self, other: "Treatment") -> dict[str, tuple[str, str]]:
        """Returns in words what differs: name -> (here, in the other)."""
        others = other.words()
        return {
            name: (words, others[name])
            for name, words in self.words().items()
            if words != others[name]
        }
