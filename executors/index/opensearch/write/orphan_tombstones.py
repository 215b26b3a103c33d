"""Tombstones of ids whose collection does not exist: removed before the collection came, or kept after it was dropped."""

from __future__ import annotations

import hashlib

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.bulk import Action, BulkQueue, Item
from executors.index.opensearch.cluster.layout import removed_alias
from executors.index.opensearch.search.queries import GONE, newer_than
from executors.index.opensearch.search.reading import Reader
from executors.index.opensearch.write.conditional_writes import external_version

_CONFLICT = 409


def attic_key(collection: str, document_id: str) -> str:
    """The `_id` of the tombstone of a document."""
    return hashlib.blake2b(f"{collection}\x00{document_id}".encode(), digest_size=20).hexdigest()


class Attic:
    """Moves tombstones between their own index (the attic) and the indices of collections."""

    def __init__(self, prefix: str, reader: Reader, bulk: BulkQueue) -> None:
        self.alias = removed_alias(prefix)
        self._reader = reader
        self._bulk = bulk

    async def bring_back(self, name: str, alias: str) -> None:
        """Copy tombstones from earlier collections of that name into a new index."""
        await self._reader.refresh(self.alias)
        async for hits in self._reader.scan(self.alias, {"term": {"collection": name}}, None):
            actions = [
                Action(alias, hit["_source"]["id"], hit["_source"], version=external_version(hit["_source"]["version"]))
                for hit in hits
            ]
            check_copied(await self._bulk.submit(actions, refresh=True))

    async def keep(self, name: str, alias: str, version: str) -> None:
        """Keep the tombstones of an index for writes that are newer than the drop of its collection."""
        query = {"bool": {"filter": [GONE, newer_than(version)]}}
        async for hits in self._reader.scan(alias, query, None):
            actions = [
                Action(
                    self.alias,
                    attic_key(name, hit["_source"]["id"]),
                    {**hit["_source"], "collection": name},
                    version=external_version(hit["_source"]["version"]),
                )
                for hit in hits
            ]
            check_copied(await self._bulk.submit(actions, refresh=True))


def check_copied(items: list[Item]) -> None:
    """Check that all copies were written. A conflict means that a newer one is there already; any other failure is an
    error.

    Raises:
        VisualSearchError: `storage_unavailable`.
    """
    for item in items:
        if "error" in item and item["status"] != _CONFLICT:
            reason = item["error"].get("type")
            raise VisualSearchError(
                "storage_unavailable", "OpenSearch did not take a copy of a document", reason=reason
            )
