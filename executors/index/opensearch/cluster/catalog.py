"""The catalog of the index: its identity, its collections, and the drops; shared by all processes.

Each is one document in the index `…-meta`, and is changed only if no other process has changed it since it was read.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster import layout
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError, RefusedError
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.search.reading import read_by_id
from executors.index.outcomes import check_binding, identity_after
from executors.index.records import Collection, ShardIdentity

_IDENTITY: Final = "index"
# How long a process trusts what it knows of a collection. An alias is never reused, so outdated knowledge does no harm.
_FRESH_S: Final = 1.0
_MOST_COLLECTIONS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """The catalog's record of a name.

    Attributes:
        collection, alias: None if there is none now.
        building: the alias of the index that is being filled to replace it.
        beat: when (ms since 1970) a process last reported that a rebuild or a drop goes on, which may hold up writes;
            0: none.
        dropped: the version of the last drop; empty: never.
        failed: why the last rebuild failed; None: it did not.
        place: of this document.
    """

    name: str
    collection: Collection | None = None
    alias: str | None = None
    building: str | None = None
    beat: int = 0
    dropped: str = ""
    failed: str | None = None
    place: tuple[int, int] | None = None


class Catalog:
    """Reads and changes the documents of the catalog."""

    def __init__(self, connection: Connection, options: IndexOptions) -> None:
        self._connection = connection
        self._options = options
        self._meta = layout.meta_alias(options.prefix)
        self._entries: dict[str, tuple[float, Entry]] = {}
        self.identity: ShardIdentity | None = None

    async def open(self) -> None:
        """Create the indices that every index of ours has, unless they exist, and read the identity.

        Raises:
            VisualSearchError: `store_invalid` for indices of another format.
        """
        for alias in (self._meta, layout.removed_alias(self._options.prefix)):
            try:
                await self._check_format(alias)
            except IndexGoneError:
                await self.make_index(layout.index_name(alias, 1), alias, layout.small_index())
        await self.read_identity()

    async def make_index(self, name: str, alias: str, body: dict[str, Any]) -> None:
        """Create an index with its alias; if it exists, do nothing."""
        try:
            await self._connection.call("PUT", f"/{name}", {**body, "aliases": {alias: {}}}, timeout_s=30)
        except RefusedError as error:
            if error.kind != "resource_already_exists_exception":
                raise

    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        """See `Store.adopt`."""
        while True:
            place = await self.read_identity()
            merged = identity_after(self.identity, identity, proposed=proposed)
            if merged == self.identity:
                return
            source = {
                "uuid": merged.index_uuid,
                "shard": merged.shard,
                "shards": merged.shards,
                "populated": merged.populated,
            }
            if await self._write(_IDENTITY, source, place):
                self.identity = merged
                return

    async def mark_populated(self) -> None:
        """Record that the first write was accepted."""
        if self.identity is not None and not self.identity.populated:
            await self.adopt(replace(self.identity, populated=True))

    async def entry(self, name: str, *, fresh: bool = False) -> Entry:
        """The record of a name."""
        known = self._entries.get(name)
        if known is not None and not fresh and known[1].alias and time.monotonic() - known[0] < _FRESH_S:
            return known[1]
        source, place = await self._read(_key_of(name))
        entry = Entry(name) if source is None else _entry(source, place)
        self._entries[name] = time.monotonic(), entry
        return entry

    async def entries(self) -> list[Entry]:
        """The records of all names, dropped ones included."""
        body = {
            "size": _MOST_COLLECTIONS,
            "seq_no_primary_term": True,
            "query": {"bool": {"must_not": [{"ids": {"values": [_IDENTITY]}}]}},
        }
        await self._connection.call("POST", f"/{self._meta}/_refresh")
        answer = await self._connection.call("POST", f"/{self._meta}/_search", body)
        found = [_entry(hit["_source"], (hit["_seq_no"], hit["_primary_term"])) for hit in answer["hits"]["hits"]]
        return sorted(found, key=lambda each: each.name)

    async def change(self, entry: Entry, **changes: Any) -> Entry | None:
        """Change the record of a name; None if another process has changed it since it was read."""
        changed = replace(entry, **changes)
        bound = changed.collection
        source = {
            "name": changed.name,
            "model_id": bound.model_id if bound else None,
            "dimension": bound.dimension if bound else None,
            "alias": changed.alias,
            "building": changed.building,
            "beat": changed.beat,
            "dropped": changed.dropped,
            "failed": changed.failed,
        }
        place = await self._write(_key_of(entry.name), source, entry.place)
        self._entries.pop(entry.name, None)
        return replace(changed, place=place) if place else None

    async def create(self, collection: Collection, prepare: Callable[[str], Awaitable[None]]) -> Entry:
        """The collection, created if it does not exist.

        Args:
            prepare: what to do with the new index (its alias) before other processes see it.

        Raises:
            VisualSearchError: `model_mismatch`, `dimension_mismatch`.
        """
        while True:
            entry = await self.entry(collection.name, fresh=True)
            if entry.collection is not None:
                check_binding(entry.collection, collection.model_id, collection.dimension)
                return entry
            alias = layout.new_alias(self._options.prefix, collection.name, uuid.uuid4().hex[:8])
            body = layout.collection_index(self._options, collection.name, collection.model_id, collection.dimension)
            await self.make_index(layout.index_name(alias, 1), alias, body)
            await prepare(alias)
            made = await self.change(entry, collection=collection, alias=alias)
            if made is not None:
                return made
            # Another process was faster.
            await self.delete_indices(alias)

    async def indices_of(self, alias: str) -> list[str]:
        """The indices behind an alias."""
        return list(await self._connection.call("GET", f"/_alias/{alias}"))

    async def behind(self) -> dict[str, str]:
        """The index behind each alias of a collection, including an alias that is being filled."""
        found = await self._connection.call("GET", f"/{layout.collection_pattern(self._options.prefix)}/_alias")
        return {alias: name for name, each in found.items() for alias in each["aliases"]}

    async def check_there(self, entry: Entry) -> None:
        """Refuse a collection whose index was deleted by another program.

        Raises:
            VisualSearchError: `store_invalid`.
        """
        if entry.alias is None:
            return
        try:
            await self.indices_of(entry.alias)
        except IndexGoneError:
            # A drop is recorded in the catalog before the index is deleted.
            if (await self.entry(entry.name, fresh=True)).alias == entry.alias:
                raise index_lost(entry.name) from None

    async def delete_indices(self, alias: str) -> None:
        """Delete the indices behind an alias."""
        for name in await self.indices_of(alias):
            await self._connection.call("DELETE", f"/{name}", timeout_s=30)

    async def _check_format(self, alias: str) -> None:
        for name, each in (await self._connection.call("GET", f"/{alias}/_mapping")).items():
            check_format(name, each["mappings"])

    async def read_identity(self) -> tuple[int, int] | None:
        """Read the current identity of this index, and the place of its document."""
        source, place = await self._read(_IDENTITY)
        if source is not None:
            self.identity = ShardIdentity(source["uuid"], source["shard"], source["shards"], source["populated"])
        return place

    async def _read(self, key: str) -> tuple[dict[str, Any] | None, tuple[int, int] | None]:
        try:
            (found,) = await read_by_id(self._connection, [{"_index": self._meta, "_id": key}])
        except IndexGoneError:
            message = f"the index {self._meta!r} of OpenSearch is gone"
            raise VisualSearchError("store_invalid", message, index=self._meta) from None
        if not found["found"]:
            return None, None
        return found["_source"], (found["_seq_no"], found["_primary_term"])

    async def _write(self, key: str, source: dict[str, Any], place: tuple[int, int] | None) -> tuple[int, int] | None:
        """Write a document if it has not changed since it was read; its place, or None."""
        params = {"require_alias": "true"}
        if place is None:
            params["op_type"] = "create"
        else:
            params |= {"if_seq_no": str(place[0]), "if_primary_term": str(place[1])}
        try:
            answer = await self._connection.call("PUT", f"/{self._meta}/_doc/{key}", source, params=params)
        except RefusedError as error:
            if error.answered == 409:
                return None
            raise
        return answer["_seq_no"], answer["_primary_term"]


def index_lost(name: str) -> VisualSearchError:
    """The error for a collection whose index was deleted by another program."""
    return VisualSearchError(
        "store_invalid",
        f"the index of the collection {name!r} is gone from OpenSearch, and its documents with it: restore it from a"
        " snapshot, or drop the collection",
        collection=name,
    )


def check_format(index: str, mapping: dict[str, Any]) -> None:
    """Refuse an index that was made by another version.

    Raises:
        VisualSearchError: `store_invalid`.
    """
    found = mapping.get("_meta", {}).get("format")
    if found != layout.FORMAT:
        raise VisualSearchError(
            "store_invalid",
            f"the index {index!r} of OpenSearch has the format {found!r}, not {layout.FORMAT}: it was made by another"
            " version or another program; choose another VS_OPENSEARCH_PREFIX, or export with the version that made it",
            index=index,
            format=found,
        )


def _key_of(name: str) -> str:
    return f"c-{hashlib.blake2b(name.encode(), digest_size=16).hexdigest()}"


def _entry(source: dict[str, Any], place: tuple[int, int] | None) -> Entry:
    bound = source["model_id"] is not None
    return Entry(
        source["name"],
        Collection(source["name"], source["model_id"], source["dimension"]) if bound else None,
        source["alias"],
        source["building"],
        source["beat"],
        source["dropped"],
        source.get("failed"),
        place,
    )
