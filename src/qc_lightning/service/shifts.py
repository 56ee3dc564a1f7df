"""Counts of verdicts since the start of the shift, from the log."""

import threading
from collections import Counter
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

from qc_lightning.inference.log_queries import first_since, verdict_counts
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.masters import KINDS, part_of


def shift_start(now: datetime, starts: list[time]) -> datetime:
    """Start of the shift at a given time.

    Args:
        now: local time without a zone.
        starts: start times of the shifts, in any order, at least one.

    >>> shift_start(datetime(2026, 3, 2, 5, 0), [time(6), time(22)])
    datetime.datetime(2026, 3, 1, 22, 0)
    """
    days = (now.date(), now.date() - timedelta(days=1))
    return max(begun for day in days for start in starts if (begun := datetime.combine(day, start)) <= now)


class Shifts:
    """Counts of the current shift, without master parts and overrides.

    Args:
        log: file of the verdict log.
        starts: start times of the shifts, local time.
    """

    def __init__(self, log: Path, starts: list[time]) -> None:
        self._log, self._starts, self._lock = log, starts, threading.Lock()
        self._begun: datetime | None = None
        self._last = 0
        self._counts: Counter[str] = Counter()

    def state(self) -> dict[str, Any]:
        """Start of the shift, local time, and its photos by verdict; reads only rows since the last call."""
        with self._lock:
            begun = shift_start(datetime.now(), self._starts)  # shifts start at local times
            if begun != self._begun:
                since = begun.astimezone(UTC).isoformat(timespec="milliseconds")
                self._begun, self._last, self._counts = begun, first_since(self._log, since) - 1, Counter()
            self._last, new = verdict_counts(self._log, self._last, [part_of(kind) for kind in KINDS])
            self._counts.update(new)
            return {"since": begun.isoformat(), "counts": {verdict.value: self._counts[verdict] for verdict in Verdict}}
