"""What serves: one model, the record of its verdicts, the photos that are kept; the same for every source of photos."""

import asyncio
import base64
import io
import json
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from fastapi import HTTPException
from PIL import Image

from qc_lightning.core.errors import UserError
from qc_lightning.inference import log_file, log_queries
from qc_lightning.inference.drift import REMEMBERED, DriftMonitor, in_words
from qc_lightning.inference.exported import EVIDENCE, ExportedInspector
from qc_lightning.inference.inspection import Inspection, PhotoLike, decode_photo
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.counters import Counters
from qc_lightning.service.engine import Busy, Engine
from qc_lightning.service.masters import Masters

_RETRY_SECONDS = 1


class Troubled(Protocol):
    """What says why it does not work; an empty text when it does."""

    @property
    def trouble(self) -> str:
        """In words."""
        ...


@dataclass
class Service:
    """One model that serves.

    Attributes:
        inspector: the exported model.
        engine: what runs it.
        counters: what /metrics shows.
        seconds: that a photo may take from its arrival to its verdict.
        log: the record of every verdict; None to keep none.
        kept: photos that are kept; None to keep none.
        drift: what watches the photos; None where the model has no reference.
        views: photos that every part has.
        masters: what the master parts say; None without a log.
        beside: sources and receivers that may be in trouble, by what an alarm calls them.
    """

    inspector: ExportedInspector
    engine: Engine
    counters: Counters
    seconds: float
    log: VerdictLog | None = None
    kept: KeptPhotos | None = None
    drift: DriftMonitor | None = None
    views: int = 1
    masters: Masters | None = None
    beside: dict[str, Troubled] = field(default_factory=dict)
    _drift_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.counters.watch(lambda: self.alarms)
        if self.log and self.drift:  # where it stood before this start
            for row, measures, rejected in log_queries.measured(self.log.path, self.model_record, REMEMBERED):
                self.drift.add(row, measures, rejected)

    @cached_property
    def model_record(self) -> str:
        """Digest of what the log knows of the model; without a log empty."""
        if self.log is None:
            return ""
        record = {"metadata": json.loads(self.inspector.metadata.to_json()), "drift": self.inspector.drift}
        return log_file.register(self.log.path, json.dumps(record, ensure_ascii=False, sort_keys=True))

    @property
    def alarms(self) -> dict[str, str]:
        """What a person has to look after: why, in words, by what it is about."""
        found = {"log": self.log.trouble if self.log else "", "photos": self.kept.trouble if self.kept else ""}
        found |= {name: one.trouble for name, one in self.beside.items()}
        found |= {"masters": self.masters.trouble} if self.masters else {}
        found |= in_words(self.drift.crossings) if self.drift else {}
        return {name: words for name, words in found.items() if words}

    def held(self, result: Inspection) -> Inspection:
        """The result as the line gets it: nothing passes while a master part blocks the line."""
        return self.masters.held(result) if self.masters else result

    def watch(self, entry: Entry, number: int | None) -> None:
        """Have drift take note of an inspection, whose row has that number; None without a log."""
        if self.drift and entry.measures:
            with self._drift_lock:
                self.drift.add(number or self.drift.photos + 1, *log_queries.read_measures(entry))

    async def inspect(self, photo: PhotoLike) -> Inspection:
        """The result of a photo.

        Raises:
            HTTPException: 503 when too many are on their way, or the result took too long.
        """
        try:
            result = asyncio.wrap_future(self.engine.submit(photo))
            return await asyncio.wait_for(asyncio.shield(result), self.seconds)
        except Busy:
            self.counters.refuse()
            detail = f"{self.engine.capacity} photos are on their way already: try again"
        except TimeoutError:
            detail = f"no verdict within {self.seconds:g} s: treat the part as rejected"
        raise HTTPException(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)})

    def entry(self, result: Inspection, part: str, source: str, milliseconds: float) -> Entry:
        """What the log holds of a result."""
        decision = str(self.inspector.metadata.decision.get("digest", ""))
        return Entry.inspected(result, part, source, self.model_record, decision, milliseconds)

    async def record(self, entry: Entry) -> int | None:
        """The number of an entry's row, once it is safe in the log; None where there is no log.

        Raises:
            HTTPException: 503 when it cannot be written: no verdict leaves without a row.
        """
        if self.log is None:
            return None
        try:
            written = asyncio.wrap_future(self.log.submit(entry))
            return await asyncio.wait_for(asyncio.shield(written), self.seconds)
        except (UserError, TimeoutError) as error:
            detail = f"{error or 'the log is too slow'}: treat the part as rejected"
            raise HTTPException(503, detail, headers={"Retry-After": str(_RETRY_SECONDS)}) from error

    def evidence(self, photo: PhotoLike) -> str | None:
        """The evidence map, a PNG in base64: white where most speaks for Incorrect; None where there is no map."""
        pixels = decode_photo(photo, self.inspector.decode).pixels
        if pixels is None or EVIDENCE not in self.inspector.outputs:
            return None
        heat = np.maximum(self.inspector.run(pixels[None], EVIDENCE)[0][0], 0)
        grey = (255 * heat / max(float(heat.max()), 1e-12)).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "PNG")
        return base64.b64encode(file.getvalue()).decode()
