"""The HTTP route of one document by its id: `PUT` stores a picture, as `/index` does with a picture as its body."""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from executors.errors import VisualSearchError
from executors.gateway.door import Body, Door
from executors.gateway.endpoints import BY_PATH
from executors.gateway.http import openapi
from executors.gateway.http.bodies import is_picture, media_type_of, picture_document
from executors.gateway.http.callers import caller_of
from executors.gateway.http.incoming import IncomingBody
from executors.gateway.http.query import as_parameters, query_values
from executors.gateway.http.responses import Json
from executors.gateway.intake import Held
from executors.gateway.rendering import answer_to_json, status_of
from executors.settings import Settings

_INDEX: Final = BY_PATH["/index"]
_QUERY: Final = ("collection", "tags", "uri", "refresh")


def add_documents(app: FastAPI, door: Door, settings: Settings) -> None:
    """Add the route. The id is the rest of the path, with its slashes."""

    @app.put("/documents/{id:rest}", response_class=Json, **openapi.PUT_DOCUMENT)
    async def put_document(request: Request) -> Response:
        async def read(held: Held) -> Body:
            given: dict[str, str] = query_values(request, _QUERY)
            fields: dict[str, str] = {name: given.pop(name) for name in ("tags", "uri") if name in given}
            _check_type(request)
            content = await IncomingBody(request, held, settings.max_request_bytes).read()
            named = fields | {"id": request.path_params["id"]}
            return [picture_document(content, named, settings.max_image_bytes)], as_parameters(given)

        answer = await door.answer(_INDEX, caller_of(request), read)
        return Json(answer_to_json(_INDEX.rendering, answer), status_of(answer))


def _check_type(request: Request) -> None:
    """Refuse a body that says it is something else than a picture; one that says nothing is taken for a picture.

    Raises:
        VisualSearchError: `unsupported_media_type`.
    """
    media_type = media_type_of(request)
    if media_type and not is_picture(media_type):
        message = f"Content-Type {media_type!r}; the body is the picture itself: image/* or application/octet-stream"
        raise VisualSearchError("unsupported_media_type", message)
