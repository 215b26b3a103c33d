"""The embedded store: one shard in one folder. SQLite holds the documents, memory is a cache of them.

Writes go through one thread with one connection and return when they are on disk and in memory. Reads and searches run
on threads of their own, each in a reading transaction, so they see one moment and never wait for a write.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.disk import reads
from executors.index.embedded.disk.checkpoints import EVERY_CHANGES
from executors.index.embedded.disk.database import DATABASE_NAME, ReadConnections
from executors.index.embedded.disk.reserve import RESERVE_NAME, can_write, disk_is_full
from executors.index.embedded.disk.schema import FORMAT_VERSION
from executors.index.embedded.disk.transaction import Transaction
from executors.index.embedded.memory.collection_memory import GraphOptions
from executors.index.embedded.memory.shard_memory import DEFAULT_OPTIONS, Memory
from executors.index.embedded.search import scrolling
from executors.index.embedded.search.facets import count_facets
from executors.index.embedded.search.search import search_once
from executors.index.embedded.shard import Options, Running, close_shard, open_shard, submit
from executors.index.embedded.upkeep.verify import Findings, check_store
from executors.index.embedded.write import apply, removal
from executors.index.embedded.write.pacing import wait_for_graphs
from executors.index.encoding import check_update, check_write, encode_each, encode_record
from executors.index.filters import Filter
from executors.index.outcomes import check_binding, check_new_collection
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

T = TypeVar("T")
Item = TypeVar("Item")

_DAY_S: Final = 86_400.0
# So many documents are encoded by the thread of the event loop itself.
_ENCODED_AT_ONCE: Final = 2


class EmbeddedStore(Store):
    """A store in one folder; see `Store`.

    Args:
        folder: this shard's own, made if it does not exist.
        search_threads: how many searches run at once; 0: one for each core.
        keep_tombstones_s: how long deletes and supersedes are remembered; longer than any deadline of a write.
        checkpoint_every: after how many changed rows the log is moved into the file.
        graph: when and how a graph is used.
        now_ms: the wall clock, milliseconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        search_threads: int = 0,
        keep_tombstones_s: float = _DAY_S,
        checkpoint_every: int = EVERY_CHANGES,
        graph: GraphOptions = DEFAULT_OPTIONS,
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._folder = folder
        self._options = Options(
            search_threads=search_threads or os.cpu_count() or 1,
            keep_tombstones_ms=round(keep_tombstones_s * 1000),
            checkpoint_every=checkpoint_every,
            graph=graph,
            now_ms=now_ms,
        )
        self._running: Running | None = None

    async def open(self) -> None:
        """See `Store.open`; also `storage_unavailable` if the folder can't be used."""
        await asyncio.to_thread(self._open)

    async def close(self) -> None:
        """See `Store.close`."""
        running, self._running = self._running, None
        if running is not None:
            await asyncio.to_thread(close_shard, running)

    @property
    def start_notes(self) -> Sequence[str]:
        """See `Store.start_notes`."""
        return () if self._running is None else list(self._running.details["start"])

    @property
    def identity(self) -> ShardIdentity | None:
        """See `Store.identity`; None as long as the store is not open."""
        return None if self._running is None else self._running.memory.identity

    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        """See `Store.adopt`."""
        await self._write(partial(apply.adopt, identity=identity, proposed=proposed))

    async def ensure_collection(self, collection: Collection) -> None:
        """See `Store.ensure_collection`."""
        known = self._open_or_refuse().memory.collections.get(collection.name)
        if known is not None:
            check_binding(known.collection, collection.model_id, collection.dimension)
            return
        check_new_collection(collection)
        await self._write(partial(apply.ensure_collection, collection=collection))

    async def drop_collection(self, name: str, version: str) -> int | None:
        """See `Store.drop_collection`; the documents leave the disk in the background."""
        running = self._open_or_refuse()

        def drop(transaction: Transaction) -> tuple[int | None, set[int]]:
            known = transaction.collection(name)
            documents = 0 if known is None else running.memory.documents(known)
            return removal.drop_collection(transaction, name, version, documents), set(transaction.changes.dropped)

        documents, dropped = await self._write(drop, frees_space=True)
        for number in dropped:
            running.maintenance.purge(number)
        return documents

    async def put(self, records: Sequence[Record], *, refresh: bool = True) -> list[WriteOutcome]:
        """See `Store.put`; also `invalid_id`, `invalid_embedding`, `invalid_tags`, `invalid_document` in an outcome."""
        running = self._open_or_refuse()
        encoded = await self._encode(running, records, encode_record)
        await wait_for_graphs(running.memory, len(encoded))
        return await self._submit(running, partial(apply.put, records=encoded), len(encoded))

    async def supersede(self, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        """See `Store.supersede`."""
        running = self._open_or_refuse()
        checked = await self._encode(running, writes, check_write)
        return await self._submit(running, partial(apply.supersede, writes=checked), len(checked))

    async def update(self, updates: Sequence[TagUpdate], *, refresh: bool = True) -> list[WriteOutcome]:
        """See `Store.update`; also `invalid_id`, `invalid_tags` in an outcome."""
        running = self._open_or_refuse()
        checked = await self._encode(running, updates, check_update)
        return await self._submit(running, partial(apply.update, updates=checked), len(checked))

    async def delete(self, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        """See `Store.delete`; also `invalid_id` in an outcome."""
        running = self._open_or_refuse()
        checked = await self._encode(running, keys, check_write)
        return await self._submit(running, partial(removal.delete, keys=checked), len(checked), frees_space=True)

    async def delete_children(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        """See `Store.delete_children`."""
        work = partial(removal.delete_children, collection=collection, parents=list(parents), version=version)
        return await self._write(work, len(parents), frees_space=True)

    async def delete_matching(self, collection: str, where: Filter, version: str, limit: int) -> list[str]:
        """See `Store.delete_matching`."""
        work = partial(removal.delete_matching, collection=collection, where=where, version=version, most=limit)
        return await self._write(work, limit, frees_space=True)

    async def get(
        self, collection: str, ids: Sequence[str], *, embedding: bool = False, thumbnail: bool = False
    ) -> list[StoredDocument | None]:
        """See `Store.get`; also `store_invalid` for an embedding that is damaged on disk."""
        running = self._open_or_refuse()
        known = running.memory.collections.get(collection)
        if known is None:
            return [None] * len(ids)
        read = partial(reads.documents_by_id, collection=known, ids=list(ids), embedding=embedding, thumbnail=thumbnail)
        return await asyncio.wrap_future(submit(running.workers, running.reading.run, read))

    async def search(self, request: SearchRequest) -> list[Hits]:
        """See `Store.search`; also `store_invalid` while vectors of the collection are damaged on disk."""
        running = self._open_or_refuse()
        search = partial(search_once, memory=running.memory, request=request)
        return await asyncio.wrap_future(submit(running.searches, _until_seen, running.reading, search))

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
        """See `Store.scroll`; nothing for an unknown collection; `store_invalid` for an embedding that is damaged."""
        running = self._open_or_refuse()
        known = running.memory.collections.get(collection)
        if known is None:
            return []
        page = partial(
            scrolling.documents_after,
            memory=running.memory,
            collection=known,
            after=after,
            limit=limit,
            where=where,
            embedding=embedding,
            thumbnail=thumbnail,
        )
        return await asyncio.wrap_future(submit(running.workers, running.reading.run, page))

    async def count(self, collection: str, where: Filter | None = None) -> int:
        """See `Store.count`."""
        running = self._open_or_refuse()
        known = running.memory.collections.get(collection)
        if known is None:
            return 0
        if where is None:
            return running.memory.documents(known)
        count = partial(scrolling.count_matching, memory=running.memory, collection=known, where=where)
        return await asyncio.wrap_future(submit(running.workers, running.reading.run, count))

    async def facets(self, collection: str, paths: Sequence[str], where: Filter | None = None) -> FacetCounts:
        """See `Store.facets`."""
        running = self._open_or_refuse()
        known = running.memory.collections.get(collection)
        if known is None:
            return FacetCounts(0, [[] for _ in paths])
        count = partial(count_facets, memory=running.memory, collection=known, paths=list(paths), where=where)
        return await asyncio.wrap_future(submit(running.counts, running.reading.run, count))

    async def sample(self, collection: str, limit: int) -> list[tuple[str, NDArray[np.float32]]]:
        """See `Store.sample`."""
        running = self._open_or_refuse()
        known = running.memory.collections.get(collection)
        if known is None:
            return []
        read = partial(scrolling.random_vectors, collection=known, limit=max(0, limit))
        return await asyncio.wrap_future(submit(running.workers, running.reading.run, read))

    async def recent(self, since: str, before: int = NEWEST, limit: int = 1000) -> RecentWrites:
        """See `Store.recent`."""
        running = self._open_or_refuse()
        read = partial(scrolling.recent_writes, since=since, before=before, limit=limit)
        return await asyncio.wrap_future(submit(running.workers, running.reading.run, read))

    async def reindex(self, collection: str | None = None) -> None:
        """See `Store.reindex`."""
        running = self._open_or_refuse()
        collections = running.memory.collections
        running.maintenance.reindex({each.number for name, each in collections.items() if collection in (None, name)})

    async def status(self) -> StoreStatus:
        """See `Store.status`; it also answers when the files no longer belong to the shard, and reports that."""
        running = self._running
        if running is None:
            raise VisualSearchError("storage_unavailable", "the store is not open")
        memory = running.memory
        held = list(memory.held.values())
        return StoreStatus(
            identity=memory.identity,
            format_version=FORMAT_VERSION,
            last_version=memory.last_version,
            collections=[(each.collection, memory.documents(each)) for each in memory.collections.values()],
            bytes_on_disk=await asyncio.to_thread(_bytes_in, self._folder),
            details={
                **running.details,
                "wal_bytes": await asyncio.to_thread(_wal_bytes, self._folder),
                "storage_error": await asyncio.to_thread(_storage_error, running),
                "bytes_in_memory": sum(each.bytes_held for each in held),
                "removed_in_memory": sum(each.flat.rows_held - each.flat.live for each in held),
                "graphs": running.maintenance.report(),
                "damaged": sum(len(rows) for rows in list(memory.damaged.values())),
            },
        )

    async def verify(self, *, repair: bool = False) -> VerifyReport:
        """See `Store.verify`; it reads the whole file while the shard keeps serving."""
        running = self._open_or_refuse()
        findings = await asyncio.wrap_future(submit(running.checks, _verify, self._folder, running.memory))
        repaired: dict[str, str] = {}
        if repair and findings.tags:
            await self._write(Transaction.rebuild_tag_index)
            repaired[""] = "the tag index was rebuilt"
        for name in findings.memory if repair else ():
            known = running.memory.collections.get(name)
            if known is not None and running.memory.held[known.number].graph is not None:
                await self.reindex(name)
                repaired[name] = f"the graph of {name!r} is being rebuilt"
        return findings.report(repaired)

    def _open(self) -> None:
        if self._running is not None:
            raise VisualSearchError("store_locked", "this store is open already", holder=os.getpid())
        self._running = open_shard(self._folder, self._options)

    def _open_or_refuse(self) -> Running:
        if self._running is None:
            raise VisualSearchError("storage_unavailable", "the store is not open")
        if self._running.memory.broken:
            raise VisualSearchError("store_invalid", "memory and disk of this shard differ: restart it")
        self._running.placement.check()
        return self._running

    async def _encode(
        self, running: Running, items: Sequence[Item], encode: Callable[[Item], T]
    ) -> list[T | VisualSearchError]:
        if len(items) <= _ENCODED_AT_ONCE:
            # This takes less time than the way to another thread and back.
            return encode_each(items, encode)
        return await asyncio.wrap_future(submit(running.workers, encode_each, list(items), encode))

    async def _write(self, work: Callable[[Transaction], T], weight: int = 1, *, frees_space: bool = False) -> T:
        return await self._submit(self._open_or_refuse(), work, weight, frees_space=frees_space)

    async def _submit(
        self, running: Running, work: Callable[[Transaction], T], weight: int, *, frees_space: bool = False
    ) -> T:
        return await asyncio.wrap_future(running.writer.submit(work, weight, frees_space=frees_space))


def _until_seen(reading: ReadConnections, read: Callable[[sqlite3.Connection], T | None]) -> T:
    """Read in new transactions until memory still has the state that the transaction sees."""
    while (found := reading.run(read)) is None:
        pass
    return found


def _verify(folder: Path, memory: Memory) -> Findings:
    # A new connection reads the file again instead of another connection's cache.
    reading = ReadConnections(folder)
    try:
        return _until_seen(reading, partial(check_store, memory=memory))
    finally:
        reading.close()


def _storage_error(running: Running) -> dict[str, Any] | None:
    """The reason why the shard can't write, found by looking at its folder now; None if it can."""
    folder = running.placement.folder
    error = running.placement.lost
    if error is None and (disk_is_full(folder) or (running.writer.disk_error and not can_write(folder))):
        full = VisualSearchError("storage_unavailable", f"the disk of {str(folder)!r} is full", folder=str(folder))
        error = running.writer.disk_error or full
    return None if error is None else error.to_json()


def _wal_bytes(folder: Path) -> int:
    """Bytes of the write-ahead log; 0 if there is none."""
    try:
        return folder.joinpath(f"{DATABASE_NAME}-wal").stat().st_size
    except OSError:
        return 0


def _bytes_in(folder: Path) -> int:
    """Bytes of the files in a folder, as far as it can be read, without the reserve for deletes."""
    total = 0
    with suppress(OSError):
        for path in folder.iterdir():
            with suppress(FileNotFoundError):
                total += path.stat().st_size if path.name != RESERVE_NAME else 0
    return total
