"""What serves: models, the record of their verdicts, the photos that are kept; the same for every source of photos."""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import HTTPException

from qc_lightning.core.errors import UserError
from qc_lightning.inference.escapes import pick
from qc_lightning.inference.inspection import Inspection, PhotoLike
from qc_lightning.inference.kept_photos import KeptPhotos
from qc_lightning.inference.log_entry import Entry
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.service.counters import Counters
from qc_lightning.service.engine import Busy, Engine
from qc_lightning.service.masters import Masters
from qc_lightning.service.models import Models, ServedModel

_RETRY_SECONDS = 1


class Troubled(Protocol):
    """What says why it does not work; an empty text when it does."""

    @property
    def trouble(self) -> str:
        """In words."""
        ...


@dataclass
class Service:
    """What serves.

    Attributes:
        models: that inspect.
        engine: what runs them.
        counters: what /metrics shows.
        seconds: that a photo may take from its arrival to its verdict.
        log: the record of every verdict; None to keep none.
        kept: photos that are kept; None to keep none.
        views: photos that every part has.
        spot_check: one part in so many is put to a person, whatever its verdict; None: none.
        masters: what the master parts say; None without a log.
        beside: sources and receivers that may be in trouble, by what an alarm calls them.
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
    beside: dict[str, Troubled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.counters.watch(lambda: self.alarms)

    @property
    def alarms(self) -> dict[str, str]:
        """What a person has to look after: why, in words, by what it is about."""
        found = {"log": self.log.trouble if self.log else "", "photos": self.kept.trouble if self.kept else ""}
        found |= {name: one.trouble for name, one in self.beside.items()}
        found |= {"masters": self.masters.trouble} if self.masters else {}
        for model in self.models.all:
            found |= model.alarms
        return {name: words for name, words in found.items() if words}

    def for_line(self, result: Inspection) -> Inspection:
        """The result as the line gets it: nothing passes while a master part blocks it; some parts are spot checks."""
        return pick(self.masters.held(result) if self.masters else result, self.spot_check)

    async def inspect(self, photo: PhotoLike, model: ServedModel) -> Inspection:
        """The result of a photo from one of the models.

        Raises:
            HTTPException: 503 when too many are on their way, or the result took too long.
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
