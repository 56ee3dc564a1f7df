"""The route that inspects a photo."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from qc_lightning.core.errors import UserError
from qc_lightning.inference.inspection import CameraPhoto
from qc_lightning.service.answers import Answer
from qc_lightning.service.masters import KINDS, Kind, part_of
from qc_lightning.service.models import Models, ServedModel
from qc_lightning.service.service import Service

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


def inspection_routes(service: Service) -> APIRouter:
    """The route for photos that a request brings."""
    router = APIRouter()

    @router.post("/v1/inspect", response_model=Answer, openapi_extra=_BODY)
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
        model = _model(service.models, product, camera)
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

    return router


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
