"""Creates, lists, describes and drops collections. The numbers of documents come from the shards at each request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from executors.documents import DEFAULT_COLLECTION
from executors.errors import VisualSearchError, collection_not_found
from executors.gateway.access import Identity
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.completion import completed
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import CollectionParameters, CreateParameters, NoParameters
from executors.gateway.shards.index_client import IndexClient, mismatch
from executors.index.records import Collection
from executors.index.versions import HybridClock


async def create_collection(service: SearchService, request: Request[CreateParameters]) -> Answer:
    """Create a collection."""
    work = Collections(service.index_client, service.clock).create(request.parameters, service.model)
    return service.report(**await completed(work))


async def list_collections(service: SearchService, request: Request[NoParameters]) -> Answer:
    """List all collections."""
    found = await Collections(service.index_client, service.clock).list()
    return service.report(collections=visible(found["collections"], request.identity))


async def describe_collection(service: SearchService, request: Request[CollectionParameters]) -> Answer:
    """Describe one collection."""
    name = request.parameters.collection
    return service.report(**await Collections(service.index_client, service.clock).describe(name))


async def drop_collection(service: SearchService, request: Request[CollectionParameters]) -> Answer:
    """Drop a collection with all its documents."""
    work = Collections(service.index_client, service.clock).drop(request.parameters.collection)
    return service.report(**await completed(work))


def visible(collections: Sequence[Mapping[str, Any]], identity: Identity) -> list[Mapping[str, Any]]:
    """Return the collections that a caller may use."""
    return [each for each in collections if identity.sees(str(each["name"]))]


def missing_is_empty(collection: str | None) -> bool:
    """Return whether a collection that no shard knows counts as empty. Only the default one does: its first write creates it.

    Args:
        collection: the name in a request, or None for the default collection.
    """
    return collection in (None, DEFAULT_COLLECTION)


class Collections:
    """The collections of the index."""

    def __init__(self, index_client: IndexClient, clock: HybridClock) -> None:
        self._index_client = index_client
        self._clock = clock

    async def create(self, given: CreateParameters, model: Mapping[str, Any]) -> dict[str, Any]:
        """Create a collection, unless it exists with the same binding; by default it is bound to the flow's `model`.

        Raises:
            VisualSearchError: `model_mismatch`, `dimension_mismatch`, `invalid_parameter`.
        """
        wanted = _wanted(given, model)
        known = (await self._index_client.refresh()).collections
        refused = await self._index_client.ensure_collections([wanted])
        for error in refused.values():
            raise error
        collection = (await self.describe(wanted.name))["collection"]
        return {"collection": collection, "result": "unchanged" if wanted.name in known else "created"}

    async def list(self) -> dict[str, Any]:
        """List all collections, in the order of their names."""
        return {"collections": collections_of(await self._index_client.shard_reports(whole=True))}

    async def describe(self, name: str) -> dict[str, Any]:
        """Describe one collection.

        Raises:
            VisualSearchError: `collection_not_found`.
        """
        for each in (await self.list())["collections"]:
            if each["name"] == name:
                return {"collection": each}
        raise collection_not_found(name)

    async def drop(self, name: str) -> dict[str, Any]:
        """Drop a collection with all its documents.

        Raises:
            VisualSearchError: `collection_not_found`.
        """
        documents = await self._index_client.drop(name, self._clock.next())
        if documents is None:
            raise collection_not_found(name)
        return {"result": "deleted", "documents": documents}

    async def check_known(self, name: str) -> None:
        """Refuse a name that no shard knows.

        Raises:
            VisualSearchError: `collection_not_found`.
        """
        if name not in (await self._index_client.refresh()).collections:
            raise collection_not_found(name)


def collections_of(reports: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the collections that the shards report, by name; each with the number of its documents in all shards."""
    collections: dict[str, dict[str, Any]] = {}
    for report in reports:
        for each in report["collections"]:
            known = collections.setdefault(each["name"], each | {"documents": 0})
            known["documents"] += each["documents"]
    return [collections[name] for name in sorted(collections)]


def _wanted(given: CreateParameters, model: Mapping[str, Any]) -> Collection:
    own, dimension = str(model["model_id"]), int(model["dimension"])
    if given.model_id in (None, own):
        bound = Collection(given.collection, own, dimension)
        if given.dimension not in (None, dimension):
            # The model has no vectors of this dimension, so nothing could be stored in the collection.
            raise mismatch(bound, Collection(given.collection, own, int(given.dimension or 0)))
        return bound
    if given.dimension is None:
        raise VisualSearchError("invalid_parameter", f"dimension: is needed for a model other than the flow's ({own})")
    return Collection(given.collection, str(given.model_id), given.dimension)
