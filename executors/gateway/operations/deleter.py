"""Deletes in every shard: documents by id or by filter, and their descendants, in whichever shard they are.

A shard removes the descendants that it holds itself; further descendants may be in other shards. So the gateway tells all
shards the ids that were removed, and repeats this until they remove nothing more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import orjson

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import Answer
from executors.gateway.flow.route import StageAnswer
from executors.gateway.flow.stages import Stages
from executors.gateway.operations.collections import missing_is_empty
from executors.gateway.operations.index_writer import failed
from executors.gateway.parameters import DeleteParameters
from executors.gateway.shards.index_client import IndexClient
from executors.index.filters import And, Filter, Not, Or
from executors.index.versions import HybridClock
from executors.index.wire.columns import unpack
from executors.index.wire.documents import collection_of
from executors.index.wire.shard_requests import filter_of

# The most documents that one shard removes in one transaction, because other writes wait for it.
_MATCHES_AT_ONCE: Final = 5_000
# The most parents that one message names.
_PARENTS_AT_ONCE: Final = 10_000


class Deleter:
    """Removes documents."""

    def __init__(self, stages: Stages, index_client: IndexClient, clock: HybridClock) -> None:
        self._stages = stages
        self._index_client = index_client
        self._clock = clock

    async def delete(self, chunk: Sequence[ImageDoc], version: str) -> StageAnswer:
        """Remove documents by id, under one version; an answer's column `descendants` has the ids of removed descendants.

        Raises:
            VisualSearchError: the index does not answer.
        """
        answer = await self._stages.post("/delete", chunk, {}, self._stages.topology.index)
        descendants = {
            n: set(found) for n, each in enumerate(answer.documents) if (found := unpack(each).get("descendants"))
        }
        for asked, answered in zip(chunk, answer.documents, strict=True):
            answered.collection = asked.collection
        collections = {n: collection_of(chunk[n]) for n in descendants}
        try:
            await self._remove_children(descendants, collections, version)
        except VisualSearchError as error:
            for n in descendants:
                answer.documents[n] = failed(chunk[n], error)
        for n, ids in descendants.items():
            if answer.documents[n].error is None:
                answer.documents[n].hits = orjson.dumps({"descendants": sorted(ids)})
        return answer

    async def delete_matching(self, given: DeleteParameters) -> Answer:
        """Remove the documents that match the filter and were written before this request.

        Raises:
            VisualSearchError: `invalid_parameter` for a filter without a condition, `collection_not_found`.
        """
        where = filter_of(given.filter)
        if where is None or not _has_condition(where):
            message = "filter: an empty filter would remove everything; use DELETE /collections/{name} for that"
            raise VisualSearchError("invalid_parameter", message)
        collection, version = given.collection or DEFAULT_COLLECTION, self._clock.next()
        columns = {"collection": collection, "filter": given.filter, "version": version, "limit": _MATCHES_AT_ONCE}
        deleted = 0
        while ids := await self._matching(columns, collection):
            removed = {0: ids}
            await self._remove_children(removed, {0: collection}, version)
            deleted += len(removed[0])
        shards = self._index_client.joined().shards
        return Answer([], shards_total=shards, shards_answered=shards, extra={"deleted": deleted})

    async def _matching(self, columns: Mapping[str, object], collection: str) -> set[str]:
        """Remove some of the documents that match, and return their ids."""
        try:
            return set(unpack(await self._index_client.ask("/delete_matching", columns))["ids"])
        except VisualSearchError as error:
            if error.code == "collection_not_found" and missing_is_empty(collection):
                return set()
            raise

    async def _remove_children(
        self, removed: Mapping[int, set[str]], collections: Mapping[int, str], version: str
    ) -> None:
        """Remove the descendants that are in other shards, and add their ids to the entry of `removed` that they belong to."""
        if self._index_client.joined().shards == 1:
            return
        told: dict[int, Collection[str]] = dict(removed)
        while told:
            requests = [
                (n, {"collection": collections[n], "parents": some, "version": version})
                for n, parents in told.items()
                for some in _batches(sorted(parents))
            ]
            answers = await self._index_client.ask_each("/delete_children", [columns for _, columns in requests])
            found: dict[int, set[str]] = {}
            for (n, _), answer in zip(requests, answers, strict=True):
                found.setdefault(n, set()).update(set(unpack(answer)["ids"]) - removed[n])
            told = {n: ids for n, ids in found.items() if ids}
            for n, ids in found.items():
                removed[n].update(ids)


def count_deleted(documents: Sequence[ImageDoc]) -> int:
    """Return how many documents a delete by id removed, counting each once."""
    removed: set[tuple[str, str]] = set()
    for document in documents:
        if document.error is None:
            collection = collection_of(document)
            removed.update((collection, each) for each in unpack(document).get("descendants", ()))
            if document.result == "deleted":
                removed.add((collection, str(document.id)))
    return len(removed)


def _has_condition(where: Filter) -> bool:
    """Whether the filter has any condition: `{"$and": [{}]}` has as few as `{}`."""
    if isinstance(where, And | Or):
        return any(_has_condition(part) for part in where.parts)
    return _has_condition(where.part) if isinstance(where, Not) else True


def _batches(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[start : start + _PARENTS_AT_ONCE] for start in range(0, len(ids), _PARENTS_AT_ONCE)]
