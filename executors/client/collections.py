"""The part of the client that deals with collections as a whole."""

from __future__ import annotations

from typing import Any

from executors.client.answers import CollectionInfo, collection_from_json
from executors.client.base import ClientBase, given_parameters, quoted
from executors.client.requests import json_body


class CollectionMethods(ClientBase):
    """Create, list, describe, drop, and build anew what a collection is searched with."""

    async def create_collection(
        self, name: str, *, model_id: str | None = None, dimension: int | None = None
    ) -> CollectionInfo:
        """Create a collection, bound to a model and the length of its vectors; default: those of the service's model.

        Returns:
            The collection; `result` is `created`, or `unchanged` when it was there already.

        Raises:
            VisualSearchError: `model_mismatch` or `dimension_mismatch` when it is there and bound otherwise.
        """
        body = json_body(given_parameters(model_id=model_id, dimension=dimension))
        content = await self._transport.json("PUT", _path(name), body)
        return collection_from_json(content.get("collection") or {}, content.get("result"))

    async def collections(self) -> list[CollectionInfo]:
        """All collections, by name."""
        content = await self._transport.json("GET", "/collections")
        return [collection_from_json(each) for each in content.get("collections") or []]

    async def collection(self, name: str) -> CollectionInfo:
        """One collection.

        Raises:
            VisualSearchError: `collection_not_found`.
        """
        content = await self._transport.json("GET", _path(name))
        return collection_from_json(content.get("collection") or {})

    async def drop_collection(self, name: str) -> int:
        """Remove a collection with all its documents.

        Returns:
            How many documents it held.

        Raises:
            VisualSearchError: `collection_not_found`; also when an answer was lost, and the drop sent again.
        """
        content = await self._transport.json("DELETE", _path(name))
        return int(content.get("documents") or 0)

    async def reindex(self, collection: str | None = None) -> None:
        """Begin to build anew what searches walk through (None: of each collection); `status` shows how far it is."""
        parameters: dict[str, Any] = given_parameters(collection=collection)
        await self._transport.json("POST", "/reindex", json_body({"parameters": parameters}))


def _path(name: str) -> str:
    return f"/collections/{quoted('collection', name)}"
