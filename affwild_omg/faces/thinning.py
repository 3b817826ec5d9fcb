"""Frame rates: which frames are left where a film has too many a second."""

import math

# A frame that comes so many steps after the one before is no surplus. Without
# it, films of nearly that rate, whose times are rounded, would lose some.
WHOLE_STEP = 0.9


class Thinning:
    """Chooses frames as they come, so that at most so many are of a second.

    Time is counted in steps of 1 / max_fps seconds from the first frame. A
    frame belongs to the step that it is nearest to (of two as near, to the
    earlier one), and the first frame of each step is kept: the others share its
    step, and none is made up where a step has no frame. Where a film has no
    more frames a second than that (a tenth more at most), all are kept.

    Attributes:
        left_out: how many frames were not kept so far.
    """

    def __init__(self, max_fps: float | None):
        """Begins before the first frame.

        Args:
            max_fps: frames of a second, at most, > 0; None keeps all.
        """
        self._max_fps = max_fps
        self._step = self._before = -math.inf
        self.left_out = 0

    def keeps(self, time_s: float) -> bool:
        """Tells whether the next frame is kept.

        Args:
            time_s: its time in seconds, above that of the frame before; whole
                microseconds of it count, as records have them.
        """
        if self._max_fps is None:
            return True
        place = round(1e6 * time_s) * self._max_fps / 1e6  # in steps
        step = math.ceil(place - 0.5)
        kept = step > self._step or place - self._before >= WHOLE_STEP
        self._step, self._before = step, place
        self.left_out += not kept
        return kept
