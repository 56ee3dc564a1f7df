"""The service itself: models, log and kept photos, shared by all sources of photos."""

import asyncio
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fastapi import HTTPException

from qc_lightning.core.errors import UserError
from qc_lightning.inference.escapes import pick
from qc_lightning.inference.inspection import Inspection, PhotoLike
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.counters import ALARMS, Counters
from qc_lightning.service.engine import Busy, Engine
from qc_lightning.service.masters import Masters
from qc_lightning.service.models import Models, ServedModel
from qc_lightning.service.shifts import Shifts
from qc_lightning.service.streaks import Streaks

_RETRY_SECONDS = 1
_PAUSE_SECONDS = 0.5  # seconds before a row is retried
_LEAST_FREE = 1e9  # bytes: a day of a fast line, some 100,000 rows of 1 kB, and time to act


def low_disk(log: Path, least: float = _LEAST_FREE) -> str:
    """A warning if the log's disk is nearly full; empty otherwise.

    Args:
        log: its file.
        least: bytes that must be free.
    """
    free = shutil.disk_usage(log.parent).free
    return "" if free >= least else f"{free / 1e6:.0f} MB are left in {log.parent}"


class Troubled(Protocol):
    """Anything that reports a fault; an empty text means none."""

    @property
    def trouble(self) -> str:
        """In words."""
        ...


@dataclass
class Service:
    """Models, log and kept photos of a service.

    Attributes:
        models: the serving models.
        engine: the queue that runs them.
        counters: metrics shown at /metrics.
        seconds: time limit from a photo's arrival to its verdict.
        log: the verdict log; None for no log.
        kept: storage of photos; None for no storage.
        views: number of views of every part.
        spot_check: one photo in this many is sent to a person, whatever its verdict; None: none.
        masters: state of the master parts; None without a log.
        shifts: counts of the shift; None without a log.
        streaks: counts of consecutive faults.
        watched: sources and receivers that may raise alarms, by topic.
    """

    models: Models
    engine: Engine
    counters: Counters
    seconds: float
    log: VerdictLog | None = None
    kept: KeptPhotos | None = None
    views: int = 1
    spot_check: int | None = None
    masters: Masters | None = None
    shifts: Shifts | None = None
    streaks: Streaks = field(default_factory=Streaks)
    watched: dict[str, Troubled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counters.watch(lambda: self.alarms)

    @property
    def alarms(self) -> dict[str, str]:
        """All alarms: texts by topic."""
        troubles = {"log": self.log.trouble if self.log else "", "photos": self.kept.trouble if self.kept else ""}
        troubles |= {"disk": low_disk(self.log.path)} if self.log else {}
        troubles |= self.streaks.alarms
        troubles |= {name: one.trouble for name, one in self.watched.items()}
        troubles |= {"masters": self.masters.trouble} if self.masters else {}
        for model in self.models.all:
            troubles |= model.alarms
        return {name: words for name, words in troubles.items() if words}

    @property
    def not_ready(self) -> str:
        """Why no part can pass at the moment, in words; empty if parts can."""
        if self.log and self.log.trouble:
            return self.log.trouble
        return self.masters.trouble if self.masters and self.masters.blocked else ""

    def state(self) -> tuple[bool, int]:
        """State for a PLC: whether parts can pass, and the alarms as bits in the order of `ALARMS`."""
        there = {key.split()[0] for key in self.alarms}
        ready = not self.not_ready and not there & {"camera", "source"}
        return ready, sum(1 << place for place, about in enumerate(ALARMS) if about in there)

    def for_line(self, result: Inspection) -> Inspection:
        """The result for the line: nothing passes while a master part blocks it; some photos become spot checks."""
        return pick(self.masters.held(result) if self.masters else result, self.spot_check)

    def note(self, model: ServedModel, result: Inspection, entry: Entry, number: int | None, seconds: float) -> None:
        """Add a photo of the line to counters, streaks and drift.

        Args:
            model: the model that inspected it.
            result: the photo's inspection.
            entry: its log entry.
            number: number of its row; None without a log.
            seconds: time from its arrival to its verdict.
        """
        model.watch(entry, number)
        self.streaks.add(result, entry.source, model.inspector.decision.novelty)
        self.counters.count(result, seconds)

    async def inspect(self, photo: PhotoLike, model: ServedModel) -> Inspection:
        """Inspect a photo with one of the models.

        Raises:
            HTTPException: 503 when the queue is full or the result took too long.
        """
        try:
            result = asyncio.wrap_future(self.engine.submit(photo, model.inspector))
            return await asyncio.wait_for(asyncio.shield(result), self.seconds)
        except Busy:
            self.counters.refuse()
            detail = f"{self.engine.capacity} photos are on their way already: try again"
        except TimeoutError:
            detail = f"no verdict within {self.seconds:g} s: treat the part as rejected"
        raise HTTPException(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)})

    def record_at_last(self, entry: Entry, ended: Callable[[], bool]) -> int | None:
        """Wait without limit until an entry is written and return its row number; None if stopped before.

        Args:
            entry: the entry to write.
            ended: returns whether the caller must stop.
        """
        while self.log and not ended():
            try:
                return self.log.submit(entry).result()
            except UserError:
                time.sleep(_PAUSE_SECONDS)
        return None

    async def record(self, entry: Entry) -> int | None:
        """Write an entry and return its row number once the row is on disk; None if there is no log.

        Raises:
            HTTPException: 503 when it cannot be written: no verdict is sent without a row.
        """
        if self.log is None:
            return None
        try:
            written = asyncio.wrap_future(self.log.submit(entry))
            return await asyncio.wait_for(asyncio.shield(written), self.seconds)
        except (UserError, TimeoutError) as error:
            detail = f"{error or 'the log is too slow'}: treat the part as rejected"
            raise HTTPException(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)}) from error
