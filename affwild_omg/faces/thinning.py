"""Frame rates: which frames are left where a film has too many a second."""

import math

# Microseconds: a frame that comes a step after the one before, or less by this,
# is no surplus. Otherwise films of that rate whose times are rounded to
# milliseconds, as in Matroska, would lose some.
ROUNDING_US = 1001


class Thinning:
    """Chooses frames as they come, so that at most so many are of a second.

    Time is counted in steps of 1 / max_fps seconds from the first frame. A
    frame belongs to the step that it is nearest to (of two as near, to the
    earlier one), and the first frame of each step is kept: the others share its
    step, and none is made up where a step has no frame. Where each frame comes
    a step or more after the one before, all are kept.

    Attributes:
        left_out: how many frames were not kept so far.
    """

    def __init__(self, max_fps: float | None):
        """Begins before the first frame.

        Args:
            max_fps: frames of a second, at most, > 0; None keeps all.
        """
        self._max_fps = max_fps
        self._step = self._before_us = -math.inf
        self.left_out = 0

    def keeps(self, time_s: float) -> bool:
        """Tells whether the next frame is kept.

        Args:
            time_s: its time in seconds, above that of the frame before; whole
                microseconds of it count, as records have them.
        """
        if self._max_fps is None:
            return True
        time_us, step_us = round(1e6 * time_s), 1e6 / self._max_fps
        step = math.ceil(time_us / step_us - 0.5)
        whole = time_us - self._before_us >= step_us - ROUNDING_US
        kept = step > self._step or whole
        self._step, self._before_us = step, time_us
        self.left_out += not kept
        return kept
