"""Rebuilds: a new index replaces a collection's old one (another mapping, engine or precision) while searches and
writes go on.

It is filled behind an alias of its own while every write goes to both; the newest version wins in whatever order they
arrive. Then writes are held up for a moment (a block on the old index), both indices are compared id by id, and the
alias is switched.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, Final

import orjson

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster import layout
from executors.index.opensearch.cluster.bulk import Action, BulkQueue
from executors.index.opensearch.cluster.catalog import Catalog, Entry
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.cluster.typed_fields import Fields
from executors.index.opensearch.documents.document_sources import with_fields
from executors.index.opensearch.search.reading import Hit, Reader
from executors.index.opensearch.write.conditional_writes import external_version
from executors.index.opensearch.write.orphan_tombstones import check_copied
from executors.index.records import Collection

# A process that has not reported for this long counts as killed.
ABANDONED_MS: Final = 30_000
_BEAT_S: Final = 3.0
# Longer than a process trusts what it knows of a collection: after that, every new write goes to both.
_ALL_KNOW_S: Final = 1.5
# Waiting for a server that hangs must not prevent this process from ending for longer.
_CLOSING_S: Final = 5.0
_BROKEN_OFF: Final = "it was aborted because its process or OpenSearch stopped; the old index is in use"
_PAGE: Final = 500
_ALL: Final[dict[str, Any]] = {"match_all": {}}


class Rebuild:
    """Rebuilds collections, each at most once at a time, whichever process began."""

    def __init__(
        self,
        connection: Connection,
        catalog: Catalog,
        reader: Reader,
        bulk: BulkQueue,
        fields: Fields,
        options: IndexOptions,
        now_ms: Callable[[], int],
    ) -> None:
        self._connection, self._catalog, self._reader, self._bulk = connection, catalog, reader, bulk
        self._fields, self._options, self._now_ms = fields, options, now_ms

    async def begin(self, name: str) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """Announce a rebuild to all processes; returns the work that is left, or None if there is none.

        There is no work if there is no such collection, or a rebuild is under way already.

        Raises:
            VisualSearchError: `store_invalid`: the new index could not be filled from anything.
        """
        entry = await self.recover(await self._catalog.entry(name, fresh=True))
        if entry.collection is None or entry.alias is None or entry.beat:
            return None
        await self._catalog.check_there(entry)
        building = layout.next_alias(entry.alias)
        begun = await self._catalog.change(entry, building=building, beat=self._now_ms(), failed=None)
        return None if begun is None else partial(self._run, name, entry.alias, entry.collection)

    async def _run(self, name: str, alias: str, bound: Collection) -> None:
        building = layout.next_alias(alias)
        beating = asyncio.get_running_loop().create_task(self._beat(name))
        try:
            (old,) = await self._catalog.indices_of(alias)
            new = layout.index_name(alias, layout.generation_of(old, alias) + 1, uuid.uuid4().hex[:4])
            body = layout.collection_index(self._options, bound.name, bound.model_id, bound.dimension)
            # A process that was killed while it requested a rebuild may have left such an index.
            with suppress(IndexGoneError):
                await self._catalog.delete_indices(building)
            await _to_its_end(self._catalog.make_index(new, building, body))
            await asyncio.sleep(_ALL_KNOW_S)
            await self._copy(alias, building)
            await self.block(old, True)
            await self._compare(alias, building)
            await _to_its_end(self._take_over(name, alias, old, building, new))
        except BaseException as error:
            failed = str(error) if isinstance(error, VisualSearchError) else _BROKEN_OFF
            with suppress(VisualSearchError, IndexGoneError):
                entry = await self._catalog.entry(name, fresh=True)
                # If it is None, the new index has already taken over.
                if entry.building is not None:
                    await self.give_up(entry, failed)
            # An index is gone: the collection was dropped in the meantime, or another process took this one for dead.
            if not isinstance(error, VisualSearchError | IndexGoneError):
                raise
        finally:
            beating.cancel()

    async def _take_over(self, name: str, alias: str, old: str, building: str, new: str) -> None:
        await self._switch(alias, old, building, new)
        # `verify` finds anything that fails from here on.
        with suppress(VisualSearchError, IndexGoneError):
            await self._end(name)
            await self._connection.call("DELETE", f"/{old}", timeout_s=30)

    async def recover(self, entry: Entry) -> Entry:
        """The entry after cleaning up what a killed process left, so that waiting writes do not wait forever."""
        if not entry.beat or entry.alias is None or self._now_ms() - entry.beat < ABANDONED_MS:
            return entry
        failed = entry.failed
        if entry.building is not None:
            # Once the new index has taken the alias, there is none of that name.
            with suppress(IndexGoneError):
                await self._catalog.indices_of(entry.building)
                failed = _BROKEN_OFF
        return await self.give_up(entry, failed)

    async def give_up(self, entry: Entry, failed: str | None) -> Entry:
        """Let writes continue into the index behind the alias, and remove a half-filled one.

        Args:
            failed: the reported reason why the last rebuild failed.
        """
        if entry.alias is not None:
            if entry.building is not None:
                with suppress(IndexGoneError):
                    await self._catalog.delete_indices(entry.building)
            with suppress(IndexGoneError):
                for index in await self._catalog.indices_of(entry.alias):
                    await self.block(index, False)
        await self._catalog.change(entry, building=None, beat=0, failed=failed)
        return await self._catalog.entry(entry.name, fresh=True)

    async def block(self, index: str, on: bool) -> None:
        """Block writes into an index, and wait for those under way."""
        if on:
            await self._connection.call("PUT", f"/{index}/_block/write", timeout_s=30)
        else:
            await self._connection.call("PUT", f"/{index}/_settings", {"index.blocks.write": None})

    async def _beat(self, name: str) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            with suppress(VisualSearchError):
                entry = await self._catalog.entry(name, fresh=True)
                if entry.building is not None:
                    await self._catalog.change(entry, beat=self._now_ms())

    async def _copy(self, alias: str, building: str) -> None:
        await self._fields.add(building, {each: each[0] for each in await self._fields.known(alias)})
        await self._reader.refresh(alias)
        async for hits in self._reader.scan(alias, _ALL, None, _PAGE):
            await self._bring(building, hits)

    async def _bring(self, building: str, hits: list[Hit]) -> None:
        known = await self._fields.known(building)
        actions = [
            Action(
                building,
                hit["_source"]["id"],
                with_fields(hit["_source"], known),
                version=external_version(hit["_source"]["version"]),
            )
            for hit in hits
        ]
        check_copied(await self._bulk.submit(actions, refresh=False))

    async def _compare(self, alias: str, building: str) -> None:
        """Copy documents that the new index lacks, and remove those that the old one no longer has, until both are the
        same.
        """
        for _ in range(3):
            await self._reader.refresh(alias)
            await self._reader.refresh(building)
            lacking, extra = await self._differences(alias, building)
            if not lacking and not extra:
                return
            for at in range(0, len(lacking), _PAGE):
                query = {"terms": {"id": lacking[at : at + _PAGE]}}
                await self._bring(building, await self._reader.page(alias, query, None, limit=_PAGE))
            lines = [orjson.dumps({"delete": {"_index": building, "_id": each}}) for each in extra]
            if lines:
                await self._connection.send_lines("/_bulk", lines, params={"require_alias": "true"})
        raise VisualSearchError("store_invalid", "the rebuilt index does not become the same as the old one")

    async def _differences(self, alias: str, building: str) -> tuple[list[str], list[str]]:
        """Ids whose newest version the new index lacks, and ids that only the new one has."""
        old = await self._versions(alias)
        new = await self._versions(building)
        return [each for each, version in old.items() if new.get(each) != version], [
            each for each in new if each not in old
        ]

    async def _versions(self, alias: str) -> dict[str, str]:
        versions: dict[str, str] = {}
        async for hits in self._reader.scan(alias, _ALL, ["id", "version"], 10_000):
            versions.update((hit["_source"]["id"], hit["_source"]["version"]) for hit in hits)
        return versions

    async def _switch(self, alias: str, old: str, building: str, new: str) -> None:
        actions = [
            {"remove": {"index": old, "alias": alias}},
            {"remove": {"index": new, "alias": building}},
            {"add": {"index": new, "alias": alias}},
        ]
        await self._connection.call("POST", "/_aliases", {"actions": actions})
        self._fields.forget(alias)
        self._fields.forget(building)

    async def _end(self, name: str) -> None:
        while True:
            entry = await self._catalog.entry(name, fresh=True)
            if entry.building is None or await self._catalog.change(entry, building=None, beat=0) is not None:
                return


async def _to_its_end(step: Coroutine[Any, Any, None]) -> None:
    """Await the server's work even if the caller is cancelled meanwhile; the cancellation is raised afterwards."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=_CLOSING_S)
        if task.done() and not task.cancelled():
            # Retrieve the exception, so that asyncio does not complain; the cancellation takes precedence.
            task.exception()
        task.cancel()
        raise
