"""The values of a video over time, for its picture and its summary."""

import array
import collections
import pathlib
from collections.abc import Sequence

import numpy as np

from affwild_omg import figures
from affwild_omg.faces.thinning import Thinning
from affwild_omg.inference.moments import Moment

DECIMALS = 6

# Of `faces.quality.Quality`, what tells whether crops are as in training.
CROPS = ("brightness", "contrast", "blur")

# Faces of a stream's picture, at most.
DRAWN = 4


class Course:
    """Keeps the time and the values of each frame, and nothing else.

    That is 8 bytes a frame, and of each face 20 and 4 more for each target.
    """

    def __init__(self, targets: Sequence[str], main: int | None = 1):
        """Begins.

        Args:
            targets: names of the values.
            main: the track of the main person; None for the longest one.
        """
        self._targets = targets
        self._main = main
        self._times = array.array("d")
        # Of each face its frame, its track and its values.
        self._frames, self._tracks = array.array("I"), array.array("I")
        self._values = array.array("f")
        self._crops = {name: array.array("f") for name in CROPS}
        self._reasons = collections.Counter()

    def add(self, moment: Moment) -> None:
        """Adds the next frame."""
        for track in moment.faces:
            self._frames.append(len(self._times))
            self._tracks.append(track)
            self._values.extend(moment.values[track])
            for name, values in self._crops.items():
                values.append(getattr(moment.qualities[track], name))
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
        return sorted(set(self._tracks))

    def values(self, track: int) -> np.ndarray:
        """Returns [frames, targets], NaN where a track is not seen."""
        shape = len(self._times), len(self._targets)
        values = np.full(shape, np.nan, np.float32)
        frames, found = self._found(track)
        values[frames] = found
        return values

    @property
    def main(self) -> int:
        """The track of the main person."""
        if self._main is not None or not self._tracks:
            return self._main or 1
        return self._longest(1)[0]

    def clip(self) -> dict:
        """Sums up the whole video.

        Returns:
            {"frames"; "duration_s", from the first frame to the last;
            "frames_with_face", of whomever; for each target its median over
            the frames of the main person, None without any; "without_face",
            {reason: frames}; "crops", {each of CROPS: its median over all
            faces, None without any}; "faces", for each track {"track",
            "frames", "first_s", "last_s", and for each target its mean, median,
            least and largest}}.
        """
        main, reasons = self._found(self.main)[1], dict(self._reasons)
        return {
            "frames": len(self._times),
            "duration_s": round(self._times[-1], DECIMALS),
            "frames_with_face": len(self._times) - sum(reasons.values()),
            **{
                target: _number(np.median(main[:, i])) if len(main) else None
                for i, target in enumerate(self._targets)
            },
            "without_face": reasons,
            "crops": {
                name: _number(np.median(values)) if values else None
                for name, values in self._crops.items()
            },
            "faces": [self._face(track) for track in self.tracks],
        }

    def seconds(self) -> list[dict]:
        """Sums up each second that has a frame.

        Returns:
            {"second", from 0 on; "frames"; "faces", for each track that is seen
            {"track", "frames", and for each target its mean}}.
        """
        numbers = np.floor(self.times).astype(int)
        # Not by bincount: a damaged time may be far away.
        seconds, places, frames = np.unique(
            numbers, return_inverse=True, return_counts=True
        )
        found = [
            {"second": int(second), "frames": int(count), "faces": []}
            for second, count in zip(seconds, frames, strict=True)
        ]
        for track in self.tracks:
            seen, values = self._found(track)
            counts = np.bincount(places[seen])
            sums = [np.bincount(places[seen], x) for x in values.T]
            for place in np.flatnonzero(counts):
                means = [x[place] / counts[place] for x in sums]
                found[place]["faces"].append(
                    {"track": track, "frames": int(counts[place])}
                    | dict(zip(self._targets, map(_number, means), strict=True))
                )
        return found

    def draw(
        self,
        path: pathlib.Path,
        title: str,
        *,
        window: int,
        tail: str,
        max_fps: float | None = None,
    ) -> None:
        """Draws the courses of tracks, see `figures.timeline`.

        Of a stream, in which who comes back later has another track, the DRAWN
        longest ones.
        """
        tracks = self.tracks if self._main else sorted(self._longest(DRAWN))
        tracks = tracks or [1]
        thinning = Thinning(max_fps)
        figures.timeline(
            path,
            self.times,
            np.stack([self.values(track) for track in tracks]),
            self._targets,
            window=window,
            tail=tail,
            title=title,
            tracks=tracks,
            kept=np.flatnonzero([thinning.keeps(x) for x in self.times]),
        )

    def _found(self, track):
        """Returns the frames in which a track is seen, and their values."""
        seen = np.frombuffer(self._tracks, np.uint32) == track
        values = np.frombuffer(self._values, np.float32)
        values = values.reshape(-1, len(self._targets))
        return np.frombuffer(self._frames, np.uint32)[seen], values[seen]

    def _longest(self, count):
        """Returns the tracks with the most frames, the longest first."""
        frames = collections.Counter(self._tracks)
        return [track for track, _ in frames.most_common(count)]

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
