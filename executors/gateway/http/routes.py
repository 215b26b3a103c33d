"""The HTTP routes: one function for each path, without logic of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Match

from executors.errors import VisualSearchError
from executors.gateway.answers import Failure, FullHealthAnswer
from executors.gateway.door import Body, Door
from executors.gateway.endpoints import ENDPOINTS, METRICS, STATUS, Endpoint
from executors.gateway.health import Health
from executors.gateway.http import openapi
from executors.gateway.http.bodies import read_documents, weight_of
from executors.gateway.http.callers import caller_of, no_body
from executors.gateway.http.collection_routes import add_collections
from executors.gateway.http.document_routes import add_documents
from executors.gateway.http.guard import CallerGuard, DefectGuard, RequestIds
from executors.gateway.http.incoming import IncomingBody
from executors.gateway.http.origins import CallerCheck
from executors.gateway.http.responses import Json, error_response
from executors.gateway.http.thumbnails import add_thumbnails
from executors.gateway.http.watch import add_watch
from executors.gateway.intake import Held
from executors.gateway.metrics.scrape import TEXT
from executors.gateway.rendering import answer_to_json, status_of
from executors.request_id import HEADER
from executors.settings import Settings


def make_app(door: Door, health: Health, settings: Settings) -> FastAPI:
    """The application that the HTTP gateway serves."""
    app = FastAPIOffline(redoc_url=None, redirect_slashes=False, **openapi.METADATA)
    app.state.trusted_proxies = settings.trusted_proxies
    callers = CallerCheck(settings.host, settings.allowed_hosts, settings.allowed_origins)

    # The middleware added last runs first. So a refused caller gets no CORS headers, and all others do, also with errors.
    app.add_middleware(DefectGuard)
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

    _add_posts(app, door, settings)
    _add_status(app, door)
    _add_metrics(app, door)
    add_thumbnails(app, door)
    add_collections(app, door, settings)
    add_documents(app, door, settings)
    _add_health(app, door, health)
    add_watch(app, door, health.hub)
    _describe_callers(app, asks_for_keys=door.asks_for_keys)
    return app


def _describe_callers(app: FastAPI, *, asks_for_keys: bool) -> None:
    """Add keys and the header `X-Request-Id` to the description, when FastAPI makes it for the first caller."""
    describe = app.openapi

    def description() -> dict[str, Any]:
        if app.openapi_schema is None:
            openapi.add_request_ids(describe())
            openapi.add_keys(describe(), required=asks_for_keys)
        return describe()

    app.openapi = description  # type: ignore[method-assign]


def _add_posts(app: FastAPI, door: Door, settings: Settings) -> None:
    """Add the endpoints that callers post to at their own path."""
    for endpoint in ENDPOINTS:
        if endpoint.resource is None:
            add = app.post(endpoint.path, response_class=Json, **openapi.describe_post(endpoint))
            add(_posted(endpoint, door, settings))


def _posted(endpoint: Endpoint, door: Door, settings: Settings) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        async def read(held: Held) -> Body:
            body = IncomingBody(request, held, settings.max_request_bytes)
            return await read_documents(body, settings.max_image_bytes, pictures=endpoint.takes.pictures)

        answer = await door.answer(endpoint, caller_of(request), read, weight=weight_of(request))
        return Json(answer_to_json(endpoint.rendering, answer), status_of(answer))

    handle.__name__ = endpoint.operation.__name__
    return handle


def _add_status(app: FastAPI, door: Door) -> None:
    @app.get("/status", response_class=Json, **openapi.STATUS)
    async def status(request: Request) -> Response:
        return Json((await door.answer(STATUS, caller_of(request), no_body)).extra)


def _add_metrics(app: FastAPI, door: Door) -> None:
    @app.get("/metrics", response_class=Response, **openapi.METRICS)
    async def metrics(request: Request) -> Response:
        text = (await door.answer(METRICS, caller_of(request), no_body)).extra[TEXT]
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _add_health(app: FastAPI, door: Door, health: Health) -> None:
    live_answer = openapi.health("the process answers")
    ready_answer = openapi.health("every stage answered once, and it is not stopping", unsound=Failure)
    full_answer = openapi.health("every stage and shard answers now", FullHealthAnswer, FullHealthAnswer)

    @app.get("/", response_class=Json, include_in_schema=False)
    async def root() -> Response:
        return Json({"name": "visual-search", "api": 1, "docs": "/docs", "status": "/status"})

    @app.get("/health/live", response_class=Json, **live_answer)
    async def live() -> Response:
        return Json({"ok": True})

    @app.get("/health/ready", response_class=Json, **ready_answer)
    async def ready() -> Response:
        door.check_open()
        return Json({"ok": True})

    @app.get("/health/full", response_class=Json, **full_answer)
    async def full() -> Response:
        sound, report = await health.full()
        return Json(report, 200 if sound else 503)


def _allowed_methods(request: Request) -> list[str]:
    """Return the methods that a path takes. Several routes may share it, and a path that takes GET takes HEAD as well."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    # No route of this level matches a file of the pages under /docs.
    methods = {method for route in routes for method in (getattr(route, "methods", None) or ())} or {"GET"}
    return sorted(methods | ({"HEAD"} if "GET" in methods else set()))


def _translate(request: Request, error: HTTPException) -> VisualSearchError:
    if error.status_code == 405:
        return VisualSearchError("method_not_allowed", f"{request.url.path} does not take {request.method}")
    if error.status_code == 404:
        return VisualSearchError("unknown_endpoint", f"no endpoint {request.url.path!r}; /docs lists them")
    return VisualSearchError("malformed_body", str(error.detail))
