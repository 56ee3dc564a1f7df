"""The service's HTTP interface: inspection, state and metrics."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.datastructures import UploadFile

from qc_lightning.core.errors import UserError
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.service.answers import Answer
from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.masters import KINDS, Kind, part_of
from qc_lightning.service.models import Models, ServedModel
from qc_lightning.service.pages import Page, docs_page, operator_page
from qc_lightning.service.parts import part_routes
from qc_lightning.service.products import product_routes
from qc_lightning.service.reviews import review_routes
from qc_lightning.service.service import Service
from qc_lightning.service.triggers import trigger_routes

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def build_app(service: Service, version: str, camera: CameraSource | None = None) -> FastAPI:
    """The application.

    Args:
        service: the service behind the routes.
        version: of qc-lightning.
        camera: the service's own camera; None if it has none.
    """
    app = FastAPI(
        title="qc-lightning", version=version, docs_url=None, redoc_url=None, dependencies=[Depends(_known_only)]
    )
    app.add_exception_handler(RequestValidationError, _refused)
    models, counters = service.models, service.counters

    @app.post("/v1/inspect", response_model=Answer, openapi_extra=_BODY)
    async def inspect(
        request: Request,
        part: Annotated[str, Query(max_length=200, description="number of the part")] = "",
        camera: Annotated[str, Query(max_length=200, description="name of the camera")] = "",
        product: Annotated[str, Query(max_length=200, description="what it is; without it: the one in force")] = "",
        master: Annotated[Kind | None, Query(description="it is a master part: good or bad")] = None,
        evidence: Annotated[bool, Query(description="also give the evidence map")] = False,
        width: Annotated[int | None, Query(ge=1, le=100_000, description="of raw RGB pixels")] = None,
        height: Annotated[int | None, Query(ge=1, le=100_000, description="of raw RGB pixels")] = None,
    ) -> Any:
        """Inspect a photo: a form field `file`, an image file as the body, or raw RGB pixels with width and height."""
        begun = time.perf_counter()
        _check_names(part, master, service)
        model = _model(models, product, camera)
        photo = await _photo(request, width, height)
        seen = CameraPhoto(photo, camera)
        result = await service.inspect(seen, model)
        result = result if master else service.for_line(result)
        heat = await asyncio.to_thread(model.evidence, seen) if evidence and not result.error else None
        seconds = time.perf_counter() - begun
        if service.kept:
            await asyncio.to_thread(service.kept.keep, photo, result)
        part = part_of(master) if master else part
        entry = model.entry(result, part, camera, 1000 * seconds)
        row = await service.record(entry)
        if master and service.masters:
            await asyncio.to_thread(service.masters.look)
        else:
            service.note(model, result, entry, row, seconds)
        answer = Answer.from_result(model, result, part, camera, 1000 * seconds, row, heat)
        return JSONResponse(answer.model_dump(mode="json"), 422) if result.error else answer

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        """The models are loaded and gave their golden inputs' results on this machine."""
        if service.not_ready:
            raise HTTPException(503, service.not_ready)
        return {"status": "ready", "model_ids": [model.inspector.model_id for model in models.all]}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(counters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/state")
    async def state() -> dict[str, Any]:
        """What a person has to look after, and whether there is a log to review parts in."""
        blocked = service.masters.blocked if service.masters else None
        answer = {"alarms": service.alarms, "log": service.log is not None, "blocked": blocked}
        answer |= {"camera": camera is not None}
        answer |= {"shift": await asyncio.to_thread(service.shifts.state) if service.shifts else None}
        return answer | {"products": models.products, "product": models.product}

    @app.get("/", include_in_schema=False)
    async def operator() -> HTMLResponse:
        return _html(operator_page(models.class_names))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _html(docs_page(app.openapi()))

    app.include_router(product_routes(models))
    if service.log:
        app.include_router(review_routes(service, service.log))
        app.include_router(part_routes(service.log, service.views, service.seconds))
    if camera:
        app.include_router(trigger_routes(camera, service.seconds))
    return app


async def _refused(_: Request, error: Exception) -> JSONResponse:
    """Answer an invalid request with 400 and one line; 422 means an unreadable photo, which has a verdict."""
    wrong = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    where = ".".join(str(place) for place in wrong["loc"][1:]) or "body"
    line = f"{where}: {wrong['msg']}".encode("utf-8", "backslashreplace").decode()
    return JSONResponse({"detail": line}, 400)


def _known_only(request: Request) -> None:
    """Refuse a parameter that the call does not have: with camra=top, another camera's model would inspect."""
    known = [field.alias for field in request.scope["route"].dependant.query_params]
    if request.url.path.startswith("/v1/") and (other := sorted({*request.query_params} - {*known})):
        raise HTTPException(400, f"{other[0]}: there is no such parameter; expected {', '.join(known) or 'none'}")


def _check_names(part: str, master: Kind | None, service: Service) -> None:
    if master and service.log is None:
        raise HTTPException(400, "master: needs a log, whose rows master parts are; start the service with log=")
    if part in map(part_of, KINDS):
        raise HTTPException(400, f"part: expected another name than '{part}', which is for master parts: give master=")


def _model(models: Models, product: str, camera: str) -> ServedModel:
    try:
        return models.choose(product, camera)
    except UserError as error:
        raise HTTPException(400, str(error)) from error


async def _photo(request: Request, width: int | None, height: int | None) -> bytes:
    """The photo's file; raw pixels get a PPM header and so become a file as well."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise HTTPException(400, "expected the photo in the form field 'file'")
            data = await file.read()
    else:
        data = await request.body()
    if not data:
        raise HTTPException(400, "expected a photo, got an empty body")
    if width is None and height is None:
        return data
    if width is None or height is None or len(data) != 3 * width * height:
        raise HTTPException(
            400, f"expected width and height with 3 x width x height bytes of RGB pixels, got {len(data)} bytes"
        )
    return f"P6 {width} {height} 255\n".encode() + data


def _html(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})
