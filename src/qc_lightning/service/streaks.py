"""Detect the same fault on consecutive photos: a dark camera, another product, a broken cable."""

import threading
import time
from collections import Counter
from collections.abc import Callable

from qc_lightning.inference.inspection import Inspection

_IN_A_ROW = 3
_DARK = 8.0  # mean grey level (of 255) below which nothing is visible
_FORGOTTEN = 600.0  # seconds without a photo after which a source is ignored


class Streaks:
    """Counts consecutive faults per source of photos; a photo without the fault ends the streak.

    Args:
        now: the clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._sources: dict[str, tuple[float, Counter[str]]] = {}

    def add(self, inspection: Inspection, source: str, novelty_limit: float | None) -> None:
        """Add a photo of the line.

        Args:
            inspection: its result.
            source: camera or folder; empty if unknown.
            novelty_limit: novelty limit of the decision; None if there is none.
        """
        novel = False
        if inspection.novelty is not None and novelty_limit is not None:
            novel = not inspection.novelty <= novelty_limit
        faults = {
            "dark": bool(inspection.measures) and inspection.measures[0] < _DARK,  # the mean grey level
            "unreadable": bool(inspection.error),
            "novelty": novel,
        }
        with self._lock:
            _, before = self._sources.get(source, (0.0, Counter[str]()))
            streaks = {name: before[name] + 1 for name, there in faults.items() if there}
            self._sources[source] = self._now(), Counter(streaks)
            self._forget()

    @property
    def alarms(self) -> dict[str, str]:
        """Alarm texts by topic, for faults on at least three consecutive photos of a source."""
        with self._lock:
            self._forget()
            troubles: dict[str, list[str]] = {}
            for source, (_, streaks) in self._sources.items():
                for name, count in streaks.items():
                    if count >= _IN_A_ROW:
                        troubles.setdefault(name, []).append(f"{source or 'the camera'}: {count} photos in a row")
        return {name: ", ".join(words) for name, words in troubles.items()}

    def _forget(self) -> None:
        oldest = self._now() - _FORGOTTEN
        self._sources = {source: item for source, item in self._sources.items() if item[0] >= oldest}
