"""The HTTP API: one function a path, no logic of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from executors.errors import Logger, VisualSearchError
from executors.gateway.flow.chunks import size_of
from executors.gateway.health import Health
from executors.gateway.http import openapi
from executors.gateway.http.bodies import read_documents, weight_of
from executors.gateway.http.collection_routes import add_collections
from executors.gateway.http.disconnection import unless_gone
from executors.gateway.http.guard import CallerGuard, DefectGuard, RequestIds
from executors.gateway.http.incoming import incoming_body
from executors.gateway.http.intake import Intake
from executors.gateway.http.origins import CallerCheck
from executors.gateway.http.responses import Json, error_response
from executors.gateway.http.thumbnails import add_thumbnails
from executors.gateway.operations.service import SearchService
from executors.gateway.rendering import answer_to_json, status_of
from executors.gateway.status import status_report
from executors.request_id import HEADER
from executors.settings import Settings


def make_app(service: SearchService, health: Health, intake: Intake, settings: Settings, logger: Logger) -> FastAPI:
    """The application that the HTTP gateway serves."""
    app = FastAPIOffline(redoc_url=None, redirect_slashes=False, **openapi.METADATA)
    callers = CallerCheck(settings.host, settings.allowed_hosts, settings.allowed_origins)

    # Added last, it comes first: who is refused gets no headers for pages, all others do, errors included.
    app.add_middleware(DefectGuard, logger=logger)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["ETag", "Retry-After", HEADER],
        )
    app.add_middleware(CallerGuard, callers=callers)
    app.add_middleware(RequestIds)

    @app.exception_handler(VisualSearchError)
    async def on_error(_: Request, error: VisualSearchError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        answer = error_response(_translate(request, error))
        if error.status_code == 405:
            answer.headers["Allow"] = ", ".join(_allowed_methods(request))
        return answer

    for endpoint in openapi.DOCUMENT_ENDPOINTS:
        app.post(endpoint, response_class=Json, **openapi.operation(endpoint))(
            _document_route(endpoint, service, health, intake, settings)
        )
    _add_reports(app, service, health, intake, settings)
    add_thumbnails(app, service, health)
    add_collections(app, service, health, intake, settings)
    _add_health(app, service, health)
    return app


def _document_route(
    endpoint: str, service: SearchService, health: Health, intake: Intake, settings: Settings
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        health.check_ready()
        # A place is taken when the body is there: one that comes slowly keeps nobody out.
        async with incoming_body(request, intake, settings.max_request_bytes, weight_of(request)) as body:
            documents, parameters = await read_documents(
                body, settings.max_image_bytes, pictures=endpoint in openapi.PICTURE_ENDPOINTS
            )
            body.held.keep(sum(map(size_of, documents)))
            async with service.admitted():
                answer = await unless_gone(request, service.handle(endpoint, documents, parameters))
        return Json(answer_to_json(endpoint, answer), status_of(answer))

    handle.__name__ = endpoint.strip("/")
    return handle


def _add_reports(app: FastAPI, service: SearchService, health: Health, intake: Intake, settings: Settings) -> None:
    @app.get("/status", response_class=Json, **openapi.STATUS)
    async def status() -> Response:
        return Json(await status_report(service, health))

    for endpoint, description in (("/verify", openapi.VERIFY), ("/reindex", openapi.REINDEX)):
        app.post(endpoint, response_class=Json, **description)(
            _upkeep_route(endpoint, service, health, intake, settings)
        )


def _upkeep_route(
    endpoint: str, service: SearchService, health: Health, intake: Intake, settings: Settings
) -> Callable[[Request], Awaitable[Response]]:
    """A request without documents, whose answer is an object of its own."""

    async def handle(request: Request) -> Response:
        health.check_ready()
        async with incoming_body(request, intake, settings.max_request_bytes, weight_of(request)) as body:
            documents, parameters = await read_documents(body, settings.max_image_bytes, pictures=False)
        async with service.admitted():
            return Json((await service.handle(endpoint, documents, parameters)).extra)

    handle.__name__ = endpoint.strip("/")
    return handle


def _add_health(app: FastAPI, service: SearchService, health: Health) -> None:
    @app.get("/", response_class=Json, include_in_schema=False)
    async def root() -> Response:
        return Json({"name": "visual-search", "api": 1, "docs": "/docs", "status": "/status"})

    @app.get("/health/live", response_class=Json, **openapi.health("the process answers"))
    async def live() -> Response:
        return Json({"ok": True})

    @app.get(
        "/health/ready", response_class=Json, **openapi.unsound("every stage answered once, and it is not stopping")
    )
    async def ready() -> Response:
        health.check_ready()
        return Json({"ok": True})

    @app.get("/health/full", response_class=Json, **openapi.unsound("every stage and shard answers now"))
    async def full() -> Response:
        sound, report = await health.full()
        return Json(report, 200 if sound else 503)


def _allowed_methods(request: Request) -> list[str]:
    """The methods that a path takes; several routes may share it, and what can be read can be asked for with HEAD."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    # A file of the pages under /docs is matched by no route of this level any more.
    methods = {method for route in routes for method in (getattr(route, "methods", None) or ())} or {"GET"}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _translate(request: Request, error: HTTPException) -> VisualSearchError:
    if error.status_code == 405:
        return VisualSearchError("method_not_allowed", f"{request.url.path} does not take {request.method}")
    if error.status_code == 404:
        return VisualSearchError("unknown_endpoint", f"no endpoint {request.url.path!r}; /docs lists them")
    return VisualSearchError("malformed_body", str(error.detail))
