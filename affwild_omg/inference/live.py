"""Prediction as a stream: of files, and of cameras until they are stopped."""

import contextlib
import signal
from collections.abc import Iterator

import numpy as np
from absl import logging

from affwild_omg.cli import progress
from affwild_omg.faces.camera import Camera
from affwild_omg.faces.video import Video
from affwild_omg.inference.moments import Moment
from affwild_omg.inference.stream import Stream


def moments(
    source: Video | Camera, stream: Stream, targets: tuple[str, ...], count: str
) -> Iterator[Moment]:
    """Predicts a film frame by frame, as its frames come.

    Args:
        source: an open film; a camera's first interruption ends it.
        stream: a fresh one.
        targets: of the values.
        count: to be shown behind what is being done.

    Yields:
        Exactly one Moment for each frame that is given, in order.
    """
    live = isinstance(source, Camera)
    # The number is asked for where the frame is read: a thread reads ahead.
    frames = ((source.number, time_s, frame) for time_s, frame in source)
    with (
        _interrupted_by_signals(source) if live else contextlib.nullcontext(),
        progress.bar(
            description=f"streaming{count}",
            unit="frame",
            total=source.expected_frames,
        ) as bar,
    ):
        if live:  # neither ahead nor in chunks, which would be late
            found = (
                (number, time_s, stream.step(frame, number, time_s))
                for number, time_s, frame in frames
            )
        else:
            found = stream.video(frames)
        for number, time_s, answers in found:
            bar.update()
            yield Moment(
                number=number,
                time_s=time_s,
                faces={x.track: x.face for x in answers},
                values={
                    x.track: np.array([getattr(x, name) for name in targets])
                    for x in answers
                },
                reason=stream.reason,
            )
    if live and source.damage:
        logging.info("%s: %s", source.path, source.damage)


@contextlib.contextmanager
def _interrupted_by_signals(camera):
    """Lets the first Ctrl-C end the film, so that its results are written.

    The second ends the command, as anywhere else.
    """

    def stop(number, frame):
        signal.signal(number, before[number])
        camera.stop()

    before = {
        number: signal.signal(number, stop)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
