"""Time spent in the stages of a command."""

import time


class Timing:
    """Seconds between marks.

    >>> timing = Timing()
    >>> timing.done("photos")
    >>> list(timing.seconds)
    ['photos']
    """

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def done(self, stage: str) -> None:
        """Record the time since the last mark, to the millisecond, as that of `stage`."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now
