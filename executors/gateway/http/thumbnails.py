"""The HTTP routes of thumbnails: by path, and by a query that can carry any id."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.access import SignedAddress
from executors.gateway.door import Body, Door
from executors.gateway.endpoints import THUMBNAIL
from executors.gateway.http import openapi
from executors.gateway.http.callers import caller_of
from executors.gateway.http.query import query_values
from executors.gateway.intake import Held

_MOST_DIGITS: Final = 15
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


def add_thumbnails(app: FastAPI, door: Door) -> None:
    """Add the routes."""

    async def answer(
        collection: str, document_id: str, request: Request, signed: SignedAddress | None = None
    ) -> Response:
        known = ", ".join(request.headers.getlist("if-none-match")).strip()

        async def read(_: Held) -> Body:
            # The entity tag is the document's version, so the index can compare it without reading the thumbnail.
            parameters = {"collection": collection, "known": _ENTITY_TAG.findall(known)}
            return [ImageDoc.from_values(id=document_id)], parameters

        document = (await door.answer(THUMBNAIL, caller_of(request, signed), read)).documents[0]
        return _response(document, document_id, known)

    @app.get("/thumbnail", response_class=Response, **openapi.THUMBNAIL_BY_QUERY)
    async def thumbnail_by_query(request: Request) -> Response:
        given = query_values(request, ("collection", "id", "expires", "signature"))
        if "id" not in given:
            raise VisualSearchError("invalid_parameter", "id: is missing; /thumbnail?collection=…&id=…")
        collection, document_id = given.get("collection", DEFAULT_COLLECTION), given["id"]
        return await answer(collection, document_id, request, _signed(collection, document_id, given))

    @app.get("/thumbnail/{collection:segment}/{id:rest}", response_class=Response, **openapi.THUMBNAIL)
    async def thumbnail(request: Request) -> Response:
        query_values(request, known=())
        return await answer(request.path_params["collection"], request.path_params["id"], request)


def _signed(collection: str, document_id: str, given: Mapping[str, str]) -> SignedAddress | None:
    """Return what the address says about itself; None if it is not signed.

    Raises:
        VisualSearchError: `invalid_parameter` if it is signed in part.
    """
    if "signature" not in given and "expires" not in given:
        return None
    expires = given.get("expires", "")
    if not (expires.isascii() and expires.isdigit() and len(expires) <= _MOST_DIGITS):
        raise VisualSearchError("invalid_parameter", "expires: must be seconds since 1970, beside `signature`")
    return SignedAddress(collection, document_id, int(expires), given.get("signature", ""))


def _response(document: ImageDoc, asked: str, known: str) -> Response:
    """Return the thumbnail, or 304 if the caller has it already.

    Args:
        asked: the id that was asked for.
        known: the header If-None-Match.

    Raises:
        VisualSearchError: the document's error; `not_found` if the index has no thumbnail of it.
    """
    if document.error is not None:
        raise document.error.to_error()
    headers = {
        "Cache-Control": "no-cache",
        "ETag": f'"{document.version}"',
        "X-Content-Type-Options": "nosniff",
    }
    if document.version in _ENTITY_TAG.findall(known):
        return Response(status_code=304, headers=headers)
    if not document.thumbnail:
        raise VisualSearchError("not_found", f"the index has no thumbnail of {asked!r}")
    if known == "*":
        return Response(status_code=304, headers=headers)
    return Response(document.thumbnail, media_type="image/jpeg", headers=headers)
