"""The route that triggers the service's own camera."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import JSONResponse

from qc_lightning.core.errors import UserError
from qc_lightning.service.answers import Answer
from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.masters import Kind


def trigger_routes(camera: CameraSource, seconds: float) -> APIRouter:
    """The routes about the service's camera.

    Args:
        camera: takes the photos.
        seconds: time limit for a verdict.
    """
    router = APIRouter()

    @router.post("/v1/trigger", response_model=Answer)
    async def trigger(
        part: Annotated[str, Query(max_length=200, description="number of the part")] = "",
        master: Annotated[Kind | None, Query(description="it is a master part: good or bad")] = None,
    ) -> Any:
        """Take a photo with the service's camera and inspect it; no verdict in time is 422 with REJECT."""
        try:
            outcome = await asyncio.to_thread(camera.inspect, part, seconds, master)
        except UserError as error:
            raise HTTPException(400, str(error)) from error
        if outcome.row is None:
            raise HTTPException(503, f"{outcome.result.reason}: treat the part as rejected")
        answer = Answer.from_result(
            outcome.model, outcome.result, outcome.part, camera.name, outcome.milliseconds, outcome.row
        )
        return JSONResponse(answer.model_dump(mode="json"), 422) if outcome.result.error else answer

    return router
