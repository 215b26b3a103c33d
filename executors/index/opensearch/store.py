"""The OpenSearch store: the `Store` contract with one index per collection; any number of processes may share it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError, collection_not_found
from executors.index.encoding import check_update, check_write, encode_each, encode_record
from executors.index.filters import Filter
from executors.index.opensearch.cluster.bulk import BulkQueue
from executors.index.opensearch.cluster.catalog import Catalog, Entry
from executors.index.opensearch.cluster.collection_access import Access, by_collection
from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.dropping import drop
from executors.index.opensearch.cluster.layout import FORMAT, MAX_DIMENSION, VECTOR, IndexOptions
from executors.index.opensearch.cluster.typed_fields import Fields
from executors.index.opensearch.documents.document_sources import fields_read, stored_document, vector_of
from executors.index.opensearch.search import queries
from executors.index.opensearch.search.facets import Facets
from executors.index.opensearch.search.reading import Reader
from executors.index.opensearch.search.searching import Search
from executors.index.opensearch.upkeep.rebuild import Rebuild
from executors.index.opensearch.upkeep.recent import recent_writes
from executors.index.opensearch.upkeep.status import status_of
from executors.index.opensearch.upkeep.verify import Verify
from executors.index.opensearch.write.collection_writes import Writes
from executors.index.opensearch.write.conditional_writes import Target, Writer
from executors.index.opensearch.write.orphan_tombstones import Attic
from executors.index.opensearch.write.pruning import prune
from executors.index.opensearch.write.removal import Removal
from executors.index.outcomes import (
    check_binding,
    check_new_collection,
    require_identity,
)
from executors.index.records import (
    NEWEST,
    Collection,
    DocumentKey,
    FacetCounts,
    Hits,
    RecentWrites,
    Record,
    SearchRequest,
    ShardIdentity,
    StoredDocument,
    StoreStatus,
    Superseded,
    TagUpdate,
    VerifyReport,
    WriteOutcome,
)
from executors.index.store import Store
from executors.index.versions import wall_clock_ms

# Collections up to this size are compared with every document.
GRAPH_FROM: Final = 10_000
_DAY_S: Final = 86_400.0
_PRUNE_EVERY_S: Final = 3_600.0


class OpenSearchStore(Store):
    """A store on a cluster; see `Store`.

    Args:
        connection: how the cluster is reached.
        index: settings of the indices.
        graph_from: the size of a collection from which on its graph is searched.
        keep_tombstones_s: how long deletes are remembered; longer than any deadline of a write.
        refresh: whether searches see a write once it is acknowledged, unless the write itself says otherwise.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        connection: ConnectionOptions,
        index: IndexOptions,
        *,
        graph_from: int = GRAPH_FROM,
        keep_tombstones_s: float = _DAY_S,
        refresh: bool = True,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._index = index
        self._refresh = refresh
        self._keep_tombstones_ms = round(keep_tombstones_s * 1000)
        self._next_prune = 0.0
        self._now_ms = now_ms
        self._connection = Connection(connection)
        self._bulk = BulkQueue(self._connection)
        self._writer = Writer(self._connection, self._bulk)
        self._reader = Reader(self._connection)
        self._catalog = Catalog(self._connection, index)
        self._fields = Fields(self._connection, index.tag_fields)
        self._attic = Attic(index.prefix, self._reader, self._bulk)
        self._removal = Removal(self._writer, self._reader, now_ms)
        self._search = Search(self._reader, index, graph_from, connection.timeout_s)
        self._facets = Facets(self._reader)
        self._rebuild = Rebuild(self._connection, self._catalog, self._reader, self._bulk, self._fields, index, now_ms)
        self._verify = Verify(self._connection, self._catalog, self._reader, self._bulk, self._fields, index.prefix)
        self._access = Access(self._catalog, self._fields, self._rebuild, connection.timeout_s)
        self._writes = Writes(self._access, self._writer, self._fields, self._removal, self._attic, now_ms)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    async def open(self) -> None:
        """See `Store.open`; also `storage_unavailable`, `storage_denied`, `store_invalid`."""
        if self._open:
            raise VisualSearchError("store_locked", "this store is open already")
        try:
            await self._catalog.open()
            await self._recovered_entries()
        finally:
            # The store may have been opened on another event loop.
            await self._connection.close()
        self._open = True

    async def close(self) -> None:
        """See `Store.close`."""
        self._open = False
        mine = [task for task in self._tasks if task.get_loop() is asyncio.get_running_loop()]
        # Tasks of an event loop that has stopped end with it; their remains are cleaned up as after a kill.
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self._connection.close()

    @property
    def identity(self) -> ShardIdentity | None:
        """See `Store.identity`."""
        return self._catalog.identity if self._open else None

    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        """See `Store.adopt`."""
        await self._check_open()
        await self._catalog.adopt(identity, proposed=proposed)

    async def ensure_collection(self, collection: Collection) -> None:
        """See `Store.ensure_collection`."""
        await self._check_open()
        known = (await self._catalog.entry(collection.name)).collection
        if known is not None:
            check_binding(known, collection.model_id, collection.dimension)
            return
        check_new_collection(collection, MAX_DIMENSION)
        await self._catalog.create(collection, partial(self._attic.bring_back, collection.name))

    async def drop_collection(self, name: str, version: str) -> int | None:
        """See `Store.drop_collection`."""
        await self._check_writable()
        return await drop(
            name, version, self._catalog, self._reader, self._rebuild, self._removal, self._attic, self._now_ms
        )

    async def put(self, records: Sequence[Record], *, refresh: bool = True) -> list[WriteOutcome]:
        """See `Store.put`; also `invalid_id`, `invalid_embedding`, `invalid_tags`, `invalid_document` in an outcome."""
        await self._check_writable()
        encoded = await asyncio.to_thread(encode_each, records, encode_record)
        put = partial(self._writes.put, refresh=refresh and self._refresh)
        outcomes = await by_collection(encoded, put, lambda each: each.collection)
        if any(outcome.error is None for outcome in outcomes):
            await self._catalog.mark_populated()
        return outcomes

    async def supersede(self, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        """See `Store.supersede`."""
        await self._check_writable()
        return await by_collection(
            encode_each(writes, check_write), self._writes.supersede, lambda each: each.collection
        )

    async def update(self, updates: Sequence[TagUpdate], *, refresh: bool = True) -> list[WriteOutcome]:
        """See `Store.update`; also `invalid_id`, `invalid_tags` in an outcome."""
        await self._check_writable()
        update = partial(self._writes.update, refresh=refresh and self._refresh)
        return await by_collection(encode_each(updates, check_update), update, lambda each: each.collection)

    async def delete(self, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        """See `Store.delete`; also `invalid_id` in an outcome."""
        await self._check_writable()
        return await by_collection(encode_each(keys, check_write), self._writes.delete, lambda each: each.collection)

    async def delete_children(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        """See `Store.delete_children`."""
        await self._check_writable()
        removed = await self._access.run(
            collection, lambda target, _: self._removal.delete_children(target, parents, version)
        )
        return removed or []

    async def delete_matching(self, collection: str, where: Filter, version: str, limit: int) -> list[str]:
        """See `Store.delete_matching`."""
        await self._check_writable()
        removed = await self._access.run(
            collection, lambda target, _: self._removal.delete_matching(target, where, version, limit)
        )
        return removed or []

    async def get(
        self, collection: str, ids: Sequence[str], *, embedding: bool = False, thumbnail: bool = False
    ) -> list[StoredDocument | None]:
        """See `Store.get`; also `store_invalid` for a damaged document."""
        await self._check_open()

        async def read(target: Target, entry: Entry) -> list[StoredDocument | None]:
            fields = ("live", "operation", "result", *fields_read(embedding=embedding, thumbnail=thumbnail))
            states = await self._writer.states(target.alias, ids, fields)
            decode = partial(_document, entry=entry, embedding=embedding, thumbnail=thumbnail)
            return [decode(each.source) if each is not None and each.live else None for each in states]

        found = await self._access.run(collection, read)
        return [None] * len(ids) if found is None else found

    async def search(self, request: SearchRequest) -> list[Hits]:
        """See `Store.search`; hits that are missing some shards of OpenSearch are marked (`partial`)."""
        await self._check_open()

        async def search(target: Target, entry: Entry) -> list[Hits]:
            assert entry.collection is not None
            check_binding(entry.collection, request.model_id, request.queries.shape[1])
            return await self._search.run(request, target.alias)

        hits = await self._access.run(request.collection, search)
        if hits is None:
            raise collection_not_found(request.collection)
        return hits

    async def scroll(
        self,
        collection: str,
        after: str = "",
        limit: int = 1000,
        *,
        where: Filter | None = None,
        embedding: bool = False,
        thumbnail: bool = False,
    ) -> list[StoredDocument]:
        """See `Store.scroll`; nothing for an unknown collection; `store_invalid` for a damaged document."""
        await self._check_open()

        async def read(target: Target, entry: Entry) -> list[StoredDocument]:
            if not after:
                await self._reader.refresh(target.alias)
            fields = fields_read(embedding=embedding, thumbnail=thumbnail)
            hits = await self._reader.page(target.alias, queries.live_query(where), fields, after, max(0, limit))
            return [_document(hit["_source"], entry, embedding=embedding, thumbnail=thumbnail) for hit in hits]

        return await self._access.run(collection, read) or []

    async def count(self, collection: str, where: Filter | None = None) -> int:
        """See `Store.count`."""
        await self._check_open()

        async def count(target: Target, _: Entry) -> int:
            await self._reader.refresh(target.alias)
            return await self._reader.count(target.alias, queries.live_query(where))

        return await self._access.run(collection, count) or 0

    async def facets(self, collection: str, paths: Sequence[str], where: Filter | None = None) -> FacetCounts:
        """See `Store.facets`; `too_many_values` from 50,000 values of one type on."""
        await self._check_open()

        async def count(target: Target, _: Entry) -> FacetCounts:
            await self._reader.refresh(target.alias)
            return await self._facets.count(target.alias, paths, where)

        found = await self._access.run(collection, count)
        return FacetCounts(0, [[] for _ in paths]) if found is None else found

    async def sample(self, collection: str, limit: int) -> list[tuple[str, NDArray[np.float32]]]:
        """See `Store.sample`."""
        await self._check_open()

        async def read(target: Target, _: Entry) -> list[tuple[str, NDArray[np.float32]]]:
            hits = await self._reader.random(target.alias, queries.live_query(None), ("id", VECTOR), max(0, limit))
            return [(hit["_source"]["id"], vector_of(hit["_source"])) for hit in hits]

        return await self._access.run(collection, read) or []

    async def recent(self, since: str, before: int = NEWEST, limit: int = 1000) -> RecentWrites:
        """See `Store.recent`; `before` counts the newest writes that were read already."""
        await self._check_open()
        return await recent_writes(self._catalog, self._reader, since, before, limit)

    async def reindex(self, collection: str | None = None) -> None:
        """See `Store.reindex`: a new index with the current settings, behind the same alias."""
        await self._check_open()
        names = [each.name for each in await self._catalog.entries() if each.alias]
        for name in names if collection is None else [collection]:
            try:
                rest = await self._rebuild.begin(name)
            except VisualSearchError as error:
                if collection is not None or error.code != "store_invalid":
                    raise
                # Status and verify report it; the other collections are rebuilt.
                continue
            if rest is not None:
                self._start(rest())

    async def status(self) -> StoreStatus:
        """See `Store.status`."""
        await self._check_open()
        await self._catalog.read_identity()
        entries = await self._recovered_entries()
        return await status_of(
            entries, self._connection, self._catalog, self._reader, self._index, FORMAT, self._now_ms()
        )

    async def verify(self, *, repair: bool = False) -> VerifyReport:
        """See `Store.verify`."""
        await self._check_open()
        return await self._verify.run(repair=repair)

    async def _recovered_entries(self) -> list[Entry]:
        return [await self._rebuild.recover(entry) for entry in await self._catalog.entries()]

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _check_open(self) -> None:
        if not self._open:
            raise VisualSearchError("storage_unavailable", "the store is not open")
        if self._catalog.identity is None:
            # Another process may have adopted the identity.
            await self._catalog.read_identity()

    async def _check_writable(self) -> None:
        await self._check_open()
        require_identity(self._catalog.identity)
        if time.monotonic() > self._next_prune:
            self._next_prune = time.monotonic() + _PRUNE_EVERY_S
            self._start(prune(self._connection, self._index.prefix, self._now_ms() - self._keep_tombstones_ms))


def _document(source: dict[str, Any], entry: Entry, *, embedding: bool, thumbnail: bool) -> StoredDocument:
    assert entry.collection is not None
    return stored_document(source, entry.name, entry.collection.model_id, embedding=embedding, thumbnail=thumbnail)
