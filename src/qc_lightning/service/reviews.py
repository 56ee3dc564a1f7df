"""Routes for reviews and overrides; each override is a log row."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Path, Query, Response
from pydantic import BaseModel, Field, StringConstraints

from qc_lightning.inference import log_queries
from qc_lightning.inference.kept_photos import find_kept, thumbnail
from qc_lightning.inference.log_entry import Row
from qc_lightning.inference.verdict_log import VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.masters import KINDS, part_of
from qc_lightning.service.service import Service

_SHOWN = 50  # rows of one answer

Words = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500)]
Number = Annotated[int, Path(ge=1, lt=2**63, description="of the row")]


class Override(BaseModel):
    """A person's verdict on a row of the log."""

    row: Annotated[int, Field(ge=1, lt=2**63, strict=True)]
    verdict: Literal["good", "bad"]
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    reason: Words = ""


def review_routes(service: Service, log: VerdictLog) -> APIRouter:
    """The routes that require a log."""
    router = APIRouter()

    @router.get("/v1/reviews")
    async def reviews() -> dict[str, Any]:
        """Parts that nobody has judged yet, oldest first: of the newest 1,000 with REVIEW, and spot checks."""
        entries = await asyncio.to_thread(log_queries.open_reviews, log.path)
        return {"count": len(entries), "rows": [_in_json(row) for row in entries[:_SHOWN]]}

    @router.get("/v1/rows")
    async def rows(
        after: Annotated[
            int | None, Query(ge=0, lt=2**63, description="number of a row; without it: the newest")
        ] = None,
    ) -> dict[str, Any]:
        """The rows after one, in order, at most 50, and the number of the newest row."""
        newest = await asyncio.to_thread(log_queries.newest_number, log.path)
        start = max(0, newest - _SHOWN) if after is None else after
        entries = await asyncio.to_thread(log_queries.rows_after, log.path, start, _SHOWN)
        return {"newest": newest, "rows": [_in_json(row) for row in entries]}

    @router.get("/v1/rows/{number}")
    async def row(number: Number) -> dict[str, Any]:
        """A row of the log."""
        return _in_json(await _row(log, number))

    @router.get("/v1/rows/{number}/photo", response_class=Response)
    async def photo(
        number: Number, longest: Annotated[int, Query(ge=16, le=2048, description="pixels of the longer side")] = 640
    ) -> Response:
        """The photo of a row as a JPEG, if it was kept and is still there."""
        sha256, kept = (await _row(log, number)).entry.sha256, service.kept
        path = find_kept(kept.folder, sha256) if kept else None
        data = await asyncio.to_thread(thumbnail, path, longest) if path else None
        if data is None:
            raise HTTPException(404, f"the photo of row {number} was not kept")
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @router.post("/v1/override", status_code=201)
    async def override(wanted: Override) -> dict[str, Any]:
        """Say whether a part is good or bad, whatever the model said: a row that names the row and the person.

        Who says otherwise than a PASS or REJECT gives a reason. Of several overrides of one row the newest counts.
        """
        row = await _row(log, wanted.row)
        inspected = row.entry
        if inspected.overrides is not None:
            raise HTTPException(
                409, f"row {wanted.row} is an override itself: override row {inspected.overrides} again"
            )
        verdict = Verdict.PASS if wanted.verdict == "good" else Verdict.REJECT
        if not wanted.reason and inspected.verdict not in (Verdict.REVIEW, verdict):
            raise HTTPException(400, f"expected a reason to override {inspected.verdict}")
        said = inspected.override(wanted.row, verdict, wanted.name, wanted.reason)
        number = await service.record(said)
        await asyncio.to_thread(service.models.judged, row, Row(number or 0, said, ""), log.path)
        if service.masters and inspected.part in map(part_of, KINDS):
            await asyncio.to_thread(service.masters.look)
        service.counters.count_override(Verdict(inspected.verdict), verdict)
        return {"row": number, "overrides": wanted.row, "verdict": verdict}

    return router


async def _row(log: VerdictLog, number: int) -> Row:
    row = await asyncio.to_thread(log_queries.row_of, log.path, number)
    if row is None:
        raise HTTPException(404, f"the log has no row {number}")
    return row


def _in_json(row: Row) -> dict[str, Any]:
    return {"row": row.number, **row.entry._asdict()}
