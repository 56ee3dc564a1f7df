"""The service's HTTP interface: a photo in, its verdict out, and what watches over it."""

import asyncio
import base64
import io
import time
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from pydantic import BaseModel
from starlette.datastructures import UploadFile

from qc_lightning.core.errors import UserError
from qc_lightning.inference.exported import EVIDENCE, ExportedInspector
from qc_lightning.inference.inspection import Inspection, PhotoLike, decode_photo
from qc_lightning.inference.verdict_log import Entry, VerdictLog
from qc_lightning.metrics.verdict import Verdict
from qc_lightning.service.counters import Counters
from qc_lightning.service.engine import Busy, Engine
from qc_lightning.service.pages import Page, docs_page, operator_page

_RETRY_SECONDS = 1


class Answer(BaseModel):
    """The result of one photo."""

    verdict: Verdict
    probability: float | None
    logit: float | None
    threshold: float
    novelty: float | None
    reason: str
    error: str
    sha256: str
    part: str
    camera: str
    model_id: str
    milliseconds: float
    evidence: str | None = None


@dataclass(frozen=True)
class Service:
    """One model that serves.

    Attributes:
        inspector: the exported model.
        engine: what runs it.
        counters: what /metrics shows.
        seconds: that a photo may take from its arrival to its verdict.
        log: the record of every verdict; None to keep none.
    """

    inspector: ExportedInspector
    engine: Engine
    counters: Counters
    seconds: float
    log: VerdictLog | None = None

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

    async def record(self, result: Inspection, part: str, camera: str, milliseconds: float) -> None:
        """Return once the result is safe in the log, where there is one.

        Raises:
            HTTPException: 503 when it cannot be written: no verdict leaves without a row.
        """
        if self.log is None:
            return
        decision = str(self.inspector.metadata.decision.get("digest", ""))
        written = asyncio.wrap_future(self.log.submit(Entry.of(result, part, camera, decision, milliseconds)))
        try:
            await asyncio.wait_for(asyncio.shield(written), self.seconds)
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


def build_app(service: Service, version: str) -> FastAPI:
    """The application.

    Args:
        service: what it serves.
        version: of qc-lightning.
    """
    app = FastAPI(title="qc-lightning", version=version, docs_url=None, redoc_url=None)
    inspector, counters = service.inspector, service.counters

    @app.post("/v1/inspect", response_model=Answer, openapi_extra=_BODY)
    async def inspect(
        request: Request,
        part: Annotated[str, Query(max_length=200, description="number of the part")] = "",
        camera: Annotated[str, Query(max_length=200, description="name of the camera")] = "",
        evidence: Annotated[bool, Query(description="also give the evidence map")] = False,
        width: Annotated[int | None, Query(ge=1, le=100_000, description="of raw RGB pixels")] = None,
        height: Annotated[int | None, Query(ge=1, le=100_000, description="of raw RGB pixels")] = None,
    ) -> Any:
        """Inspect a photo: a form field `file`, an image file as the body, or raw RGB pixels with width and height."""
        begun = time.perf_counter()
        photo = await _photo(request, width, height)
        result = await service.inspect(photo)
        heat = await asyncio.to_thread(service.evidence, photo) if evidence and not result.error else None
        seconds = time.perf_counter() - begun
        await service.record(result, part, camera, 1000 * seconds)
        counters.count(result, seconds)
        answer = Answer(
            verdict=result.verdict,
            probability=result.probability,
            logit=result.logit,
            threshold=result.threshold,
            novelty=result.novelty,
            reason=result.reason,
            error=result.error,
            sha256=result.sha256,
            part=part,
            camera=camera,
            model_id=result.model_id,
            milliseconds=round(1000 * seconds, 3),
            evidence=heat,
        )
        return JSONResponse(answer.model_dump(mode="json"), 422) if result.error else answer

    @app.get("/health")
    async def health() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        """The model is loaded and gave its golden inputs' results on this machine."""
        if service.log and service.log.trouble:
            raise HTTPException(503, service.log.trouble)
        return {"status": "ready", "model_id": inspector.model_id}

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counts and times for Prometheus."""
        return Response(counters.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/model")
    async def model() -> dict[str, Any]:
        """Which model serves, and by which decision."""
        metadata = inspector.metadata
        return {
            "model_id": inspector.model_id,
            "classes": list(inspector.class_names),
            "decision": metadata.decision,
            "release": metadata.release,
            "golden_inputs": len(inspector.golden.logit),
        }

    @app.get("/", include_in_schema=False)
    async def operator() -> HTMLResponse:
        return _html(operator_page(inspector.class_names))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _html(docs_page(app.openapi()))

    return app


async def _photo(request: Request, width: int | None, height: int | None) -> PhotoLike:
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
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def _html(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})
