"""Routes about the state of the service: for load balancers, Prometheus and the operator's page."""

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from qc_lightning.service.service import Service


def state_routes(service: Service, has_camera: bool) -> APIRouter:
    """The routes that only read.

    Args:
        service: the service.
        has_camera: whether it takes photos with a camera of its own.
    """
    router = APIRouter()

    @router.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @router.get("/ready")
    async def ready() -> dict[str, Any]:
        """The models are loaded and gave their golden inputs' results on this machine."""
        if service.not_ready:
            raise HTTPException(503, service.not_ready)
        return {"status": "ready", "model_ids": [model.inspector.model_id for model in service.models.all]}

    @router.get("/metrics")
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(service.counters.text(), media_type="text/plain; version=0.0.4")

    @router.get("/v1/state")
    async def state() -> dict[str, Any]:
        """What a person has to look after, and whether there is a log to review parts in."""
        blocked = service.masters.blocked if service.masters else None
        answer = {"alarms": service.alarms, "log": service.log is not None, "blocked": blocked}
        answer |= {"camera": has_camera}
        answer |= {"shift": await asyncio.to_thread(service.shifts.state) if service.shifts else None}
        return answer | {"products": service.models.products, "product": service.models.product}

    return router
