"""Collections over HTTP, as resources; what they do is in the operations that gRPC callers post to."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from executors.errors import VisualSearchError
from executors.exact_json import InvalidJsonError, read_json
from executors.gateway.health import Health
from executors.gateway.http import openapi
from executors.gateway.http.bodies import check_json_type
from executors.gateway.http.incoming import incoming_body
from executors.gateway.http.intake import Intake
from executors.gateway.http.query import query_values
from executors.gateway.http.responses import Json
from executors.gateway.operations.service import SearchService
from executors.settings import Settings


def add_collections(app: FastAPI, service: SearchService, health: Health, intake: Intake, settings: Settings) -> None:
    """Add the routes."""

    async def answer(action: str, parameters: dict[str, Any], request: Request, *, body: bool = False) -> Response:
        health.check_ready()
        query_values(request, known=())
        given = await _read_object(request, intake, settings.max_request_bytes) if body else {}
        async with service.admitted():
            return Json((await service.handle(f"/collections/{action}", [], given | parameters)).extra)

    @app.get("/collections", response_class=Json, **openapi.COLLECTIONS["list"])
    async def list_collections(request: Request) -> Response:
        return await answer("list", {}, request)

    # Names that no collection can have reach the check of names, instead of being an unknown endpoint.
    @app.get("/collections/{name:rest}", response_class=Json, **openapi.COLLECTIONS["describe"])
    async def describe_collection(request: Request) -> Response:
        return await answer("describe", {"collection": request.path_params["name"]}, request)

    @app.put("/collections/{name:rest}", response_class=Json, **openapi.COLLECTIONS["create"])
    async def create_collection(request: Request) -> Response:
        return await answer("create", {"collection": request.path_params["name"]}, request, body=True)

    @app.delete("/collections/{name:rest}", response_class=Json, **openapi.COLLECTIONS["drop"])
    async def drop_collection(request: Request) -> Response:
        # A body that means something else than all documents is refused.
        return await answer("drop", {"collection": request.path_params["name"]}, request, body=True)


async def _read_object(request: Request, intake: Intake, max_bytes: int) -> dict[str, Any]:
    """A body that is a JSON object, or nothing.

    Raises:
        VisualSearchError: `malformed_body`, `unsupported_media_type`, `request_too_large`, `invalid_parameter`.
    """
    check_json_type(request)
    async with incoming_body(request, intake, max_bytes) as incoming:
        body = await incoming.read()
    try:
        content = read_json(body) if body else {}
    except InvalidJsonError as error:
        raise VisualSearchError("malformed_body", f"the body {error}") from None
    if isinstance(content, dict) and "collection" in content:
        raise VisualSearchError("invalid_parameter", "collection: stands in the path")
    if not isinstance(content, dict):
        raise VisualSearchError(
            "malformed_body", 'the body must be an object, such as {}; PUT takes {"model_id": …, "dimension": …}'
        )
    return content
