"""The service's HTTP interface: all routes, the pages, and answers to wrong requests."""

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse

from qc_lightning.service.camera_source import CameraSource
from qc_lightning.service.inspections import inspection_routes
from qc_lightning.service.pages import Page, docs_page, operator_page
from qc_lightning.service.parts import part_routes
from qc_lightning.service.products import product_routes
from qc_lightning.service.reviews import review_routes
from qc_lightning.service.service import Service
from qc_lightning.service.state import state_routes
from qc_lightning.service.triggers import trigger_routes


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

    @app.get("/", include_in_schema=False)
    async def operator() -> HTMLResponse:
        return _html(operator_page(service.models.class_names))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return _html(docs_page(app.openapi()))

    app.include_router(inspection_routes(service))
    app.include_router(state_routes(service, has_camera=camera is not None))
    app.include_router(product_routes(service.models))
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


def _html(page: Page) -> HTMLResponse:
    return HTMLResponse(page.html, headers={"Content-Security-Policy": page.policy})
