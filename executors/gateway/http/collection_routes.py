"""The HTTP routes of collections. gRPC callers post to the same operations."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from executors.errors import VisualSearchError
from executors.exact_json import InvalidJsonError, read_json
from executors.gateway.door import Body, Door
from executors.gateway.endpoints import ENDPOINTS, Endpoint
from executors.gateway.http import openapi
from executors.gateway.http.bodies import check_json_type
from executors.gateway.http.callers import caller_of
from executors.gateway.http.incoming import IncomingBody
from executors.gateway.http.query import query_values
from executors.gateway.http.responses import Json
from executors.gateway.intake import Held
from executors.settings import Settings

# A JSON body is in memory twice: as bytes and as values.
_WEIGHT: Final = 2


def add_collections(app: FastAPI, door: Door, settings: Settings) -> None:
    """Add the routes."""
    for endpoint in ENDPOINTS:
        if endpoint.resource is not None and endpoint.resource.path.startswith("/collections"):
            # With `rest`, an invalid name reaches the check of names; otherwise the path would be an unknown endpoint.
            path, method = endpoint.resource.path.replace("{name}", "{name:rest}"), endpoint.resource.method
            description = openapi.describe_collections(endpoint)
            add = app.api_route(path, methods=[method], response_class=Json, **description)
            add(_resource(endpoint, door, settings.max_request_bytes, has_body=method != "GET"))


def _resource(
    endpoint: Endpoint, door: Door, max_bytes: int, *, has_body: bool
) -> Callable[[Request], Awaitable[Response]]:
    """Make the route of a request whose collection is in the path.

    It reads a body of DELETE as well, so that a caller who wants to delete only a part is refused.
    """

    async def handle(request: Request) -> Response:
        async def read(held: Held) -> Body:
            query_values(request, known=())
            given = await _read_object(IncomingBody(request, held, max_bytes)) if has_body else {}
            named = {"collection": request.path_params["name"]} if "name" in request.path_params else {}
            return [], given | named

        return Json((await door.answer(endpoint, caller_of(request), read, weight=_WEIGHT)).extra)

    handle.__name__ = endpoint.operation.__name__
    return handle


async def _read_object(incoming: IncomingBody) -> dict[str, Any]:
    """Read a body that is a JSON object or empty.

    Raises:
        VisualSearchError: `malformed_body`, `unsupported_media_type`, `request_too_large`, `invalid_parameter`.
    """
    check_json_type(incoming.request)
    body = await incoming.read()
    try:
        content = read_json(body) if body else {}
    except InvalidJsonError as error:
        raise VisualSearchError("malformed_body", f"the body {error}") from None
    if isinstance(content, dict) and "collection" in content:
        raise VisualSearchError("invalid_parameter", "collection: is given in the path, not in the body")
    if not isinstance(content, dict):
        raise VisualSearchError(
            "malformed_body", 'the body must be an object, such as {}; PUT takes {"model_id": …, "dimension": …}'
        )
    return content
