"""Thumbnails over HTTP: by path, and in a query that carries any id."""

from __future__ import annotations

import re
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import Response

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.health import Health
from executors.gateway.http import openapi
from executors.gateway.http.query import query_values
from executors.gateway.operations.service import SearchService

_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')


def add_thumbnails(app: FastAPI, service: SearchService, health: Health) -> None:
    """Add the routes."""

    async def answer(collection: str, document_id: str, request: Request) -> Response:
        health.check_ready()
        async with service.admitted():
            known = ", ".join(request.headers.getlist("if-none-match"))
            return await _thumbnail(service, collection, document_id, known.strip())

    @app.get("/thumbnail", response_class=Response, **openapi.THUMBNAIL_BY_QUERY)
    async def thumbnail_by_query(request: Request) -> Response:
        given = query_values(request, ("collection", "id"))
        if "id" not in given:
            raise VisualSearchError("invalid_parameter", "id: is missing; /thumbnail?collection=…&id=…")
        return await answer(given.get("collection", DEFAULT_COLLECTION), given["id"], request)

    @app.get("/thumbnail/{collection:segment}/{id:rest}", response_class=Response, **openapi.THUMBNAIL)
    async def thumbnail(request: Request) -> Response:
        query_values(request, known=())
        return await answer(request.path_params["collection"], request.path_params["id"], request)


async def _thumbnail(service: SearchService, collection: str, document_id: str, known: str) -> Response:
    """The picture, or 304 when the caller knows it.

    Args:
        known: the header If-None-Match. A tag of ours is the document's version, which is known without the picture.
    """
    if known and known != "*":
        version = (await _read(service, collection, document_id, [])).version
        if version in _ENTITY_TAG.findall(known):
            return Response(status_code=304, headers=_headers(version))
    document = await _read(service, collection, document_id, ["thumbnail"])
    if not document.thumbnail:
        raise VisualSearchError("not_found", f"no thumbnail is kept of {document_id!r}")
    headers = _headers(document.version)
    if known == "*":
        return Response(status_code=304, headers=headers)
    return Response(document.thumbnail, media_type="image/jpeg", headers=headers)


async def _read(service: SearchService, collection: str, document_id: str, wanted: list[str]) -> ImageDoc:
    parameters = {"collection": collection, "with": wanted}
    document = (await service.handle("/get", [ImageDoc.from_values(id=document_id)], parameters)).documents[0]
    if document.error is not None:
        raise document.error.to_error()
    return document


def _headers(version: str | None) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "ETag": f'"{version}"', "X-Content-Type-Options": "nosniff"}
