"""The values of a video over time, for its picture and its summary."""

import array
import collections
import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg import figures
from affwild_omg.inference.moments import Moment

DECIMALS = 6


class Course:
    """Keeps the time and the values of each frame, and nothing else.

    That is 8 bytes a frame, and 4 more for each face and target.
    """

    def __init__(self, targets: Sequence[str]):
        """Takes the names of the values."""
        self._targets = targets
        self._times = array.array("d")
        self._values = {}  # of each track, NaN where it is not seen
        self._reasons = collections.Counter()

    def add(self, moment: Moment) -> None:
        """Adds the next frame."""
        nothing = [np.nan] * len(self._targets)
        for track in moment.faces.keys() - self._values.keys():
            self._values[track] = array.array("f", nothing * len(self._times))
        for track, values in self._values.items():
            values.extend(moment.values.get(track, nothing))
        self._times.append(moment.time_s)
        if not moment.faces:
            self._reasons[moment.reason] += 1

    @property
    def times(self) -> np.ndarray:
        """Seconds since the first frame, [frames]."""
        return np.frombuffer(self._times)

    @property
    def tracks(self) -> list[int]:
        """The tracks that were seen, in order."""
        return sorted(self._values)

    def values(self, track: int) -> np.ndarray:
        """Returns [frames, targets], NaN where a track is not seen."""
        values = self._values.get(track)
        if values is None:
            return np.full((len(self._times), len(self._targets)), np.nan)
        return np.frombuffer(values, np.float32).reshape(-1, len(self._targets))

    def clip(self) -> dict:
        """Sums up the whole video.

        Returns:
            {"frames"; "duration_s", from the first frame to the last;
            "frames_with_face", of whomever; for each target its median over
            the frames of the main person, None without any; "without_face",
            {reason: frames}; "faces", for each track {"track", "frames",
            "first_s", "last_s", and for each target its mean, median, least
            and largest}}.
        """
        main, reasons = self._found(1)[1], dict(self._reasons)
        return {
            "frames": len(self._times),
            "duration_s": round(self._times[-1], DECIMALS),
            "frames_with_face": len(self._times) - sum(reasons.values()),
            **{
                target: _number(np.median(main[:, i])) if len(main) else None
                for i, target in enumerate(self._targets)
            },
            "without_face": reasons,
            "faces": [self._face(track) for track in self.tracks],
        }

    def seconds(self) -> list[dict]:
        """Sums up each second that has a frame.

        Returns:
            {"second", from 0 on; "frames"; "faces", for each track that is seen
            {"track", "frames", and for each target its mean}}.
        """
        numbers = np.floor(self.times).astype(int)
        frames = np.bincount(numbers)
        found = [
            {
                "second": int(second),
                "frames": int(frames[second]),
                "faces": [],
            }
            for second in np.flatnonzero(frames)
        ]
        place = {entry["second"]: entry for entry in found}
        for track in self.tracks:
            seen, values = self._found(track)
            counts = np.bincount(numbers[seen])
            sums = [np.bincount(numbers[seen], x) for x in values.T]
            for second in np.flatnonzero(counts):
                means = [x[second] / counts[second] for x in sums]
                place[second]["faces"].append(
                    {"track": track, "frames": int(counts[second])}
                    | dict(zip(self._targets, map(_number, means), strict=True))
                )
        return found

    def draw(
        self, path: pathlib.Path, title: str, *, window: int, tail: str
    ) -> None:
        """Draws the courses of all tracks, see `figures.timeline`."""
        figures.timeline(
            path,
            self.times,
            np.stack([self.values(track) for track in self.tracks or [1]]),
            self._targets,
            window=window,
            tail=tail,
            title=title,
        )

    def _found(self, track):
        """Returns the frames in which a track is seen, and their values."""
        values = self.values(track)
        seen = np.flatnonzero(~np.isnan(values).all(axis=1))
        return seen, values[seen]

    def _face(self, track):
        """Sums up a track."""
        seen, values = self._found(track)
        how = {
            "mean": np.mean,
            "median": np.median,
            "least": np.min,
            "largest": np.max,
        }
        return {
            "track": track,
            "frames": len(seen),
            "first_s": round(self._times[seen[0]], DECIMALS),
            "last_s": round(self._times[seen[-1]], DECIMALS),
            **{
                target: {name: _number(x(column)) for name, x in how.items()}
                for target, column in zip(self._targets, values.T, strict=True)
            },
        }


def _number(value) -> float:
    return round(float(value), DECIMALS)
