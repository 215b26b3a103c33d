"""The contract of a store, kept by plain dictionaries: slow, and simple enough to be right by reading it.

What other implementations are compared with (tests/contracts/store_machine.py), and a stand-in for a real store. What
would be on disk is a `Shard` (dictionary_shard.py), which outlives the store that has it open.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.facets import Tally, without_path
from executors.index.filters import Filter, matches
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
    Tags,
    TagUpdate,
    VerifyReport,
    WriteOutcome,
)
from executors.index.store import Store
from tests.support.stores.dictionary_shard import Live, Shard, check_binding, digest_of


class DictionaryStore(Store):
    """See `Store`. What a call does, it does in one step, so calls never mix; other tasks go first."""

    def __init__(self, shard: Shard | None = None) -> None:
        self._shard = Shard() if shard is None else shard
        self._open = False

    async def open(self) -> None:
        if self._open:
            raise VisualSearchError("store_locked", "this store is open already")
        self._open = True

    async def close(self) -> None:
        self._open = False

    @property
    def identity(self) -> ShardIdentity | None:
        return self._shard.identity if self._open else None

    async def adopt(self, identity: ShardIdentity, *, proposed: bool = False) -> None:
        (await self._opened()).adopt(identity, proposed)

    async def ensure_collection(self, collection: Collection) -> None:
        known = (await self._opened()).collections.setdefault(collection.name, collection)
        check_binding(known, collection.model_id, collection.dimension)

    async def drop_collection(self, name: str, version: str) -> int | None:
        return (await self._opened(writing=True)).drop(name, version)

    async def put(self, records: Sequence[Record], *, refresh: bool = True) -> list[WriteOutcome]:
        shard = await self._opened(writing=True)
        return [shard.put(record) for record in records]

    async def supersede(self, writes: Sequence[Superseded]) -> list[WriteOutcome]:
        shard = await self._opened(writing=True)
        return [shard.supersede(write) for write in writes]

    async def update(self, updates: Sequence[TagUpdate], *, refresh: bool = True) -> list[WriteOutcome]:
        shard = await self._opened(writing=True)
        return [shard.update(update) for update in updates]

    async def delete(self, keys: Sequence[DocumentKey]) -> list[WriteOutcome]:
        shard = await self._opened(writing=True)
        return [shard.delete(key) for key in keys]

    async def delete_children(self, collection: str, parents: Sequence[str], version: str) -> list[str]:
        return (await self._opened(writing=True)).remove_descendants(collection, parents, version)

    async def delete_matching(self, collection: str, where: Filter, version: str, limit: int) -> list[str]:
        shard = await self._opened(writing=True)
        older = [name for name, each in self._matching(collection, where) if each.record.version < version]
        return shard.remove_matching(collection, older[: max(0, limit)], version)

    async def get(
        self, collection: str, ids: Sequence[str], *, embedding: bool = False, thumbnail: bool = False
    ) -> list[StoredDocument | None]:
        documents = (await self._opened()).documents
        found = (documents.get((collection, each)) for each in ids)
        return [None if live is None else _stored(live, embedding, thumbnail) for live in found]

    async def search(self, request: SearchRequest) -> list[Hits]:
        collection = (await self._opened()).collections.get(request.collection)
        if collection is None:
            raise VisualSearchError("collection_not_found", f"there is no collection {request.collection!r}")
        check_binding(collection, request.model_id, request.queries.shape[1])
        matching = self._matching(request.collection, request.where)
        documents = [live.record for name, live in matching if name not in request.without]
        return [_best(documents, query, request) for query in request.queries]

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
        await self._opened()
        page = [live for name, live in self._matching(collection, where) if name > after][: max(0, limit)]
        return [_stored(live, embedding, thumbnail) for live in page]

    async def count(self, collection: str, where: Filter | None = None) -> int:
        await self._opened()
        return len(list(self._matching(collection, where)))

    async def facets(self, collection: str, paths: Sequence[str], where: Filter | None = None) -> FacetCounts:
        await self._opened()
        total = len(list(self._matching(collection, where)))
        counts: list[list[tuple[Any, int]]] = []
        for path in paths:
            tally = Tally(path)
            for _, live in self._matching(collection, without_path(where, path)):
                tally.add_tags(live.record.tags)
            counts.append(tally.pairs())
        return FacetCounts(total, counts)

    async def sample(self, collection: str, limit: int) -> list[tuple[str, NDArray[np.float32]]]:
        await self._opened()
        found = [(name, live.record.embedding) for name, live in self._matching(collection, None)]
        return random.sample(found, min(max(0, limit), len(found)))

    async def recent(self, since: str, before: int = NEWEST, limit: int = 1000) -> RecentWrites:
        shard = await self._opened()
        puts = list(enumerate(shard.documents.values()))
        drops = sorted((each for each in shard.drops.items() if each[1] >= since), key=lambda each: each[1])
        wanted = [(n, live.record) for n, live in reversed(puts) if n < before and live.record.version >= since]
        page = wanted[: max(0, limit)]
        keys = [DocumentKey(each.collection, each.id, each.version) for _, each in page]
        last = page[-1][0] if len(page) < len(wanted) and page else None
        return RecentWrites(keys, [digest_of(each) for _, each in page], last, drops if before == NEWEST else [])

    async def reindex(self, collection: str | None = None) -> None:
        await self._opened()

    async def status(self) -> StoreStatus:
        shard = await self._opened()
        counts = [(each, len(list(self._matching(each.name, None)))) for each in shard.collections.values()]
        size = sum(live.record.embedding.nbytes for live in shard.documents.values())
        return StoreStatus(shard.identity, 1, shard.last_version, counts, size)

    async def verify(self, *, repair: bool = False) -> VerifyReport:
        documents = (await self._opened()).documents
        keys = [DocumentKey(collection, name, live.record.version) for (collection, name), live in documents.items()]
        return VerifyReport(len(keys), [], keys)

    def digest(self, collection: str, document_id: str) -> str | None:
        """The digest of the document that is there."""
        live = self._shard.documents.get((collection, document_id))
        return None if live is None else digest_of(live.record)

    async def _opened(self, *, writing: bool = False) -> Shard:
        await asyncio.sleep(0)
        if not self._open:
            raise VisualSearchError("storage_unavailable", "the store is not open")
        if writing and self._shard.identity is None:
            raise VisualSearchError("shard_identity", "this shard does not belong to an index yet")
        return self._shard

    def _matching(self, collection: str, where: Filter | None) -> Iterator[tuple[str, Live]]:
        """The documents that match, by id."""
        for (name, document_id), live in sorted(self._shard.documents.items(), key=lambda item: item[0]):
            if name == collection and (where is None or matches(where, live.record.tags)):
                yield document_id, live


def cosines(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """The cosine of each of the N x D vectors with the query, in float64; the same vector gives the same number."""
    rows, one = vectors.astype(np.float64), query.astype(np.float64)
    scores: NDArray[np.float64] = (rows * one).sum(axis=1) / np.sqrt((rows * rows).sum(axis=1) * (one * one).sum())
    return scores


def group_of(record: Record, group_by: str) -> tuple[bool, Any]:
    """Return whether the document is in a group, and the group: the tag's value as stored, the parent's id, or its own id."""
    if group_by == "parent":
        return True, record.id if record.parent is None else record.parent
    return value_at(record.tags, group_by)


def value_at(tags: Tags, path: str) -> tuple[bool, Any]:
    """Return whether there is a value at a path (keys joined by dots), and the value; a key with dots precedes nested keys."""
    if path in tags:
        return True, tags[path]
    for key, value in tags.items():
        if isinstance(value, dict) and path.startswith(f"{key}."):
            there, found = value_at(value, path[len(key) + 1 :])
            if there:
                return True, found
    return False, None


def same_group(value: Any) -> bytes:
    """A key that two values share when they are equal as JSON: 1 and 1.0 are, 1 and true are not."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _best(documents: Sequence[Record], query: NDArray[np.float32], request: SearchRequest) -> Hits:
    scores: list[float] = []
    if documents:
        scores = cosines(np.stack([each.embedding for each in documents]), query).clip(-1.0, 1.0).tolist()
    ranked = sorted(zip(scores, documents, strict=True), key=lambda pair: (-pair[0], pair[1].id))
    if request.threshold is not None:
        ranked = [pair for pair in ranked if pair[0] >= request.threshold]
    if request.ceiling is not None:
        ranked = [pair for pair in ranked if pair[0] <= request.ceiling]
    groups: list[Any] = []
    if request.group_by is not None:
        firsts: dict[bytes, tuple[float, Record]] = {}
        for score, record in ranked:
            there, value = group_of(record, request.group_by)
            if there and same_group(value) not in firsts:
                firsts[same_group(value)] = score, record
                groups.append(value)
        ranked = list(firsts.values())
    hits = ranked[: max(0, request.limit)]
    records = [record for _, record in hits]
    return Hits(
        ids=[each.id for each in records],
        scores=[score for score, _ in hits],
        versions=[each.version for each in records],
        uris=[each.uri for each in records],
        tags=[each.tags for each in records],
        parents=[each.parent for each in records],
        boxes=[each.box for each in records],
        groups=groups[: len(hits)] if request.group_by is not None else None,
        embeddings=[each.embedding for each in records] if request.embedding else None,
    )


def _stored(live: Live, embedding: bool, thumbnail: bool) -> StoredDocument:
    values = {each.name: getattr(live.record, each.name) for each in fields(Record)}
    hidden = [name for name, wanted in (("embedding", embedding), ("thumbnail", thumbnail)) if not wanted]
    return StoredDocument(**values | dict.fromkeys(hidden))
