"""The HTTP API: one function a path, no logic of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway import openapi
from executors.gateway.bodies import parse_json, read_documents, weight_of
from executors.gateway.chunks import size_of
from executors.gateway.collection_routes import add_collections
from executors.gateway.disconnection import unless_gone
from executors.gateway.health import Health
from executors.gateway.incoming import incoming_body
from executors.gateway.intake import Intake
from executors.gateway.rendering import answer_to_json, status_of
from executors.gateway.responses import Json, error_response
from executors.gateway.security import CallerCheck
from executors.gateway.service import SearchService
from executors.gateway.status import status_report
from executors.lifecycle import Logger, as_error
from executors.settings import Settings


class Guard:
    """Checks the caller before anything else, and answers for a defect of anything behind it."""

    def __init__(self, app: ASGIApp, callers: CallerCheck, logger: Logger) -> None:
        self._app = app
        self._callers = callers
        self._logger = logger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._callers.check(headers.get("host"), headers.get("origin"))
            await self._app(scope, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:
            await error_response(as_error(error, "gateway", self._logger))(scope, receive, send)


def make_app(service: SearchService, health: Health, intake: Intake, settings: Settings, logger: Logger) -> FastAPI:
    """The application that the HTTP gateway serves."""
    app = FastAPIOffline(**openapi.METADATA)
    callers = CallerCheck(settings.host, settings.allowed_hosts, settings.allowed_origins)

    app.add_middleware(Guard, callers=callers, logger=logger)
    if settings.allowed_origins:
        # Added last, it comes first: a browser's question beforehand is answered here.
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.allowed_origins, allow_methods=["*"], allow_headers=["*"]
        )

    @app.exception_handler(VisualSearchError)
    async def on_error(_: Request, error: VisualSearchError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        return error_response(_translate(request, error))

    for endpoint in openapi.DOCUMENT_ENDPOINTS:
        app.post(endpoint, response_class=Json, **openapi.operation(endpoint))(
            _document_route(endpoint, service, health, intake, settings)
        )
    _add_reports(app, service, health, intake, settings)
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
            documents, parameters = await read_documents(body, settings.max_image_bytes)
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

    @app.get("/thumbnail/{collection}/{document_id:path}", response_class=Response, **openapi.THUMBNAIL)
    async def thumbnail(collection: str, document_id: str) -> Response:
        health.check_ready()
        wanted = ImageDoc.from_values(id=document_id)
        parameters = {"collection": collection, "with": ["thumbnail"]}
        async with service.admitted():
            document = (await service.handle("/get", [wanted], parameters)).documents[0]
        if document.error is not None:
            raise VisualSearchError(document.error.code, document.error.message, **document.error.details)
        if not document.thumbnail:
            raise VisualSearchError("not_found", f"no thumbnail is kept of {document_id!r}")
        headers = {"Cache-Control": "no-cache", "ETag": f'"{document.version}"', "X-Content-Type-Options": "nosniff"}
        return Response(document.thumbnail, media_type="image/jpeg", headers=headers)

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
        async with incoming_body(request, intake, settings.max_request_bytes) as body:
            content = await body.read()
        documents, parameters = parse_json(content, settings.max_image_bytes)
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
        "/health/ready", response_class=Json, **openapi.health("every stage answered once, and it is not stopping")
    )
    async def ready() -> Response:
        health.check_ready()
        return Json({"ok": True})

    @app.get("/health/full", response_class=Json, **openapi.health("every stage and shard answers now"))
    async def full() -> Response:
        sound, report = await health.full()
        return Json(report, 200 if sound else 503)

    # Some balancers ask without wanting the body.
    for path, answer in (("/health/live", live), ("/health/ready", ready), ("/health/full", full)):
        app.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)


def _translate(request: Request, error: HTTPException) -> VisualSearchError:
    if error.status_code == 405:
        return VisualSearchError("method_not_allowed", f"{request.url.path} does not take {request.method}")
    if error.status_code == 404:
        return VisualSearchError("unknown_endpoint", f"no endpoint {request.url.path!r}; /docs lists them")
    return VisualSearchError("malformed_body", str(error.detail))
