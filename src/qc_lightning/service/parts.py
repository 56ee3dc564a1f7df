"""One verdict per part seen by several cameras, from the log: the worst view decides, a missing view never passes."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from fastapi import Path as InPath
from pydantic import BaseModel

from qc_lightning.inference import log_file
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.parts import View, part_verdict
from qc_lightning.metrics.verdict import Verdict

_LOOK_SECONDS = 0.02  # seconds between polls while waiting for a view
_NEWEST = 1000  # number of a part's newest rows to read


class PartAnswer(BaseModel):
    """The verdict on a part and on each of its views."""

    part: str
    verdict: Verdict
    reason: str
    worst: str
    probability: float | None
    views: dict[str, Verdict]
    missing: int


def views_of(log: Path, part: str, after: int = 0) -> dict[str, View]:
    """The newest inspection of a part by camera, or the person's verdict on it.

    Args:
        log: file of the log.
        part: number of the part.
        after: rows up to this one are ignored: they are of an earlier part with that number.
    """
    where = f"WHERE part = ? AND id > ? ORDER BY id DESC LIMIT {_NEWEST}"
    newest: dict[str, tuple[int, View]] = {}
    for number, entry, _ in reversed(list(log_file.query(log, where, part, after))):
        camera = entry.source
        if entry.overrides is None:
            newest[camera] = (number, View(Verdict(entry.verdict), entry.probability, entry.reason))
        elif camera in newest and newest[camera][0] == entry.overrides:
            said = f"{entry.who}: {entry.reason}" if entry.reason else entry.who
            newest[camera] = (entry.overrides, View(Verdict(entry.verdict), entry.probability, said))
    return {camera: view for camera, (_, view) in newest.items()}


def part_routes(log: VerdictLog, expected: int, seconds: float) -> APIRouter:
    """The routes about parts.

    Args:
        log: the verdict log.
        expected: number of views of every part.
        seconds: longest time that a request waits for views.
    """
    router = APIRouter()

    @router.get("/v1/parts/{part:path}", response_model=PartAnswer)
    async def verdict(
        part: Annotated[str, InPath(min_length=1, max_length=200, description="number of the part")],
        after: Annotated[int, Query(ge=0, lt=2**63, description="only rows after this one count")] = 0,
        wait: Annotated[float, Query(ge=0, description="seconds to wait for views that are missing")] = 0.0,
    ) -> PartAnswer:
        """The verdict on a part: of its views' newest ones the worst, never PASS while a view is missing."""
        deadline = time.monotonic() + min(wait, seconds)
        while True:
            views = await asyncio.to_thread(views_of, log.path, part, after)
            if len(views) >= expected or time.monotonic() >= deadline:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if not views:
            raise HTTPException(404, f"the log has no photo of part {part}: treat it as rejected")
        verdict = part_verdict(part, views, expected)
        return PartAnswer(
            part=part,
            verdict=verdict.verdict,
            reason=verdict.reason,
            worst=verdict.worst,
            probability=verdict.probability,
            views={camera: view.verdict for camera, view in views.items()},
            missing=verdict.missing,
        )

    return router
