"""The part of the client that reads documents: by id, in order, and how many there are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from executors.client.answers import (
    Answer,
    FoundDocument,
    ScrollPage,
    found_from_json,
    optional_error,
    page_from_json,
)
from executors.client.base import DEFAULT_COLLECTION, ClientBase, given_parameters, quoted, wanted_parts
from executors.client.requests import Document, json_body


class ReadingMethods(ClientBase):
    """Read documents; a filter is what `filter` of the HTTP API takes."""

    async def get(
        self,
        ids: Sequence[str],
        *,
        collection: str | None = None,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
    ) -> Answer[FoundDocument]:
        """Read documents by id, their vectors and thumbnails on request."""
        wanted = wanted_parts(embedding=with_embedding, thumbnail=with_thumbnail)
        parameters = given_parameters(collection=collection) | wanted
        return await self._post("/get", [Document(id=each) for each in ids], parameters, found_from_json)

    async def scroll(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        after: str = "",
        limit: int = 100,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
        allow_partial: bool = False,
    ) -> ScrollPage:
        """The next documents (that match) in the order of their ids (by code points), after the id `after`.

        Raises:
            VisualSearchError: `collection_not_found`, `invalid_filter`, `invalid_parameter`.
        """
        parameters = given_parameters(collection=collection, filter=filter, after=after or None) | {"limit": limit}
        parameters |= wanted_parts(embedding=with_embedding, thumbnail=with_thumbnail)
        if allow_partial:
            parameters["allow_partial"] = True
        return page_from_json(await self._transport.json("POST", "/scroll", json_body({"parameters": parameters})))

    async def scroll_all(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        after: str = "",
        limit: int = 100,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
    ) -> AsyncIterator[FoundDocument]:
        """Every document (that matches), in the order of the ids, fetched in pages of `limit`.

        What is written meanwhile is found if its id comes later than the page that is read.
        """
        following: str | None = after
        while following is not None:
            page = await self.scroll(
                collection=collection,
                filter=filter,
                after=following,
                limit=limit,
                with_embedding=with_embedding,
                with_thumbnail=with_thumbnail,
            )
            for document in page.documents:
                yield document
            following = page.next

    async def count(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        allow_partial: bool = False,
    ) -> int:
        """How many documents a collection holds (that match).

        Raises:
            VisualSearchError: `collection_not_found`, `invalid_filter`.
        """
        parameters = given_parameters(collection=collection, filter=filter)
        if allow_partial:
            parameters["allow_partial"] = True
        content = await self._transport.json("POST", "/count", json_body({"parameters": parameters}))
        return int(content["parameters"]["count"])

    async def thumbnail(self, document_id: str, *, collection: str = DEFAULT_COLLECTION) -> bytes | None:
        """The small JPEG of an indexed picture; None when the index has none of it."""
        path = f"/thumbnail?collection={quoted('collection', collection)}&id={quoted('id', document_id)}"
        response = await self._transport.request("GET", path)
        if response.status == 200:
            return response.content
        error = optional_error(self._transport.parse(response).get("error"))
        if error is None or response.status == 404:
            return None
        raise error
