"""Windows: the consecutive frames of one clip that a network sees at a time.

Training, evaluation and prediction cut their clips by this rule. A window never
crosses clips, and every frame is scored in exactly one.
"""

import typing

# Where the frames that do not fill a window of their own go.
TAILS = ("pad", "overlap", "spread")

# What training may change in them, see `data.augmentation`.
AUGMENTATIONS = ("mirror", "place", "light", "jpeg", "rate")


class Window(typing.NamedTuple):
    """A window's place in its clip, in frames.

    Attributes:
        start: the first.
        scored: the first that is scored here; those before it, which the
            window reaches back to, are scored in the window before.
        stop: the one behind the last.
    """

    start: int
    scored: int
    stop: int


def cut(frames: int, length: int, tail: str, stride: int = 0) -> list[Window]:
    """Cuts a clip into as many windows as it needs.

    Args:
        frames: of the clip, 1 or more.
        length: frames of a window, at most.
        tail: one of `TAILS`. "pad": the last window holds what is left;
            "overlap": it also reaches back over frames before, as far as they
            go; "spread": all windows share the frames, and none holds two more
            than another.
        stride: frames from one start to the next; 0: `length`. Where it is
            less, each window is scored as a whole, and "spread" is "overlap".

    Returns:
        The windows in order.
    """
    if 0 < stride < length:
        starts = range(0, max(1, frames - length + stride), stride)
        stops = [min(start + length, frames) for start in starts]
        if tail != "pad":
            starts = [max(0, stop - length) for stop in stops]
        return [
            Window(start, start, stop)
            for start, stop in zip(starts, stops, strict=True)
        ]
    if tail == "spread":
        count = -(-frames // length)
        size, larger = divmod(frames, count)
        starts = [i * size + min(i, larger) for i in range(count)]
    else:
        starts = range(0, frames, length)
    stops = [*starts[1:], frames]
    return [
        Window(
            max(0, stop - length) if tail == "overlap" else start, start, stop
        )
        for start, stop in zip(starts, stops, strict=True)
    ]


def overlapping(frames: int, length: int) -> list[Window]:
    """Cuts a clip into windows of which each begins amid the one before.

    Half a window lies between two starts. Of the windows that hold a frame, the
    one that begins first scores it: there the network has seen the most before
    it, half a window at least, but for the first one's frames.

    Args:
        frames: of the clip, 1 or more.
        length: frames of a window, at most.
    """
    step = -(-length // 2)
    stops = [*range(length, frames, step), frames]
    return [
        Window(max(0, scored - (length - step)), scored, stop)
        for scored, stop in zip([0, *stops[:-1]], stops, strict=True)
    ]
