"""The steps of a write: prepare and embed it, bind its collection, stamp it, store it in one shard, remove older copies.

The version is stamped last, just before the shard stores the document. So what another request does to the same id while
this one is being embedded counts as older. If the caller leaves before the stamp, nothing is stored; after it, the write is
completed, so that an id never has two copies.

In this gateway, writes of one id wait for each other. If another gateway writes the id in between, the removal of older
copies finds its newer copy, and the write is stored again under a new version. So an acknowledged write is the only copy.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from collections.abc import Collection as AnyCollection
from typing import Final

import numpy as np

from executors.documents import Failure, ImageDoc
from executors.errors import ErrorCode, VisualSearchError, known_code
from executors.gateway.flow.chunks import add_up
from executors.gateway.flow.route import StageAnswer
from executors.gateway.flow.stages import Stages
from executors.gateway.operations.completion import completed
from executors.gateway.shards.id_locks import IdLocks, Key
from executors.gateway.shards.index_client import IndexClient
from executors.index.records import Collection
from executors.index.versions import HybridClock
from executors.index.wire.columns import unpack
from executors.index.wire.documents import collection_of

_ATTEMPTS: Final = 5
_STALE: Final = "stale_version"
_DROPPED: Final = "collection_not_found"
# Outcomes of superseding that are no errors: a newer copy leads to another attempt, and there may be no older copy.
_NO_FAULT: Final[frozenset[ErrorCode]] = frozenset({_STALE, "not_found"})


class IndexWriter:
    """Writes chunks of documents.

    Args:
        parts_of: cuts a chunk into the parts that the pipeline prepares side by side.
    """

    def __init__(
        self,
        stages: Stages,
        index_client: IndexClient,
        clock: HybridClock,
        locks: IdLocks,
        parts_of: Callable[[Sequence[ImageDoc]], Sequence[Sequence[ImageDoc]]],
    ) -> None:
        self._parts_of = parts_of
        self._stages = stages
        self._index_client = index_client
        self._clock = clock
        self._locks = locks

    async def write(self, chunk: list[ImageDoc], fresh: AnyCollection[str], *, refresh: bool = True) -> StageAnswer:
        """Write a chunk; the answer holds a result or an error for each document, in order.

        Args:
            chunk: the documents.
            fresh: ids that this gateway has just made: no other shard can have a copy of them.
            refresh: whether searches see the write once it is acknowledged, if the store leaves the choice.

        Raises:
            VisualSearchError: a stage does not answer; nothing of the chunk was acknowledged.
        """
        prepared = await self._prepare(chunk)
        return await completed(self._write_prepared(prepared, fresh, refresh=refresh))

    async def _prepare(self, chunk: Sequence[ImageDoc]) -> StageAnswer:
        """Have the pipeline make the vectors.

        Raises:
            VisualSearchError: a stage does not answer.
        """
        parts = self._parts_of(chunk)
        pipeline = self._stages.topology.pipeline
        if len(parts) == 1:
            return await self._stages.post("/index", chunk, target=pipeline)
        try:
            async with asyncio.TaskGroup() as group:
                posts = [group.create_task(self._stages.post("/index", part, target=pipeline)) for part in parts]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        answer = StageAnswer([])
        for post in posts:
            answer.documents += post.result().documents
            add_up(answer.took_ms, post.result().took_ms)
        return answer

    async def _write_prepared(self, prepared: StageAnswer, fresh: AnyCollection[str], *, refresh: bool) -> StageAnswer:
        answer = StageAnswer(list(prepared.documents), dict(prepared.took_ms))
        await self._bind(prepared.documents)
        pending = [n for n, document in enumerate(prepared.documents) if document.error is None]
        written = [prepared.documents[n] for n in pending if prepared.documents[n].id not in fresh]
        async with self._locks.hold(keys_of(written)):
            for _ in range(_ATTEMPTS):
                if pending:
                    pending = await self._store(prepared.documents, pending, fresh, answer, refresh=refresh)
        for n in pending:
            if _code(answer.documents[n]) != _DROPPED:
                error = VisualSearchError(_STALE, "other writes of this id kept coming in between; send it again")
                answer.documents[n] = failed(prepared.documents[n], error)
        return answer

    async def _bind(self, documents: Sequence[ImageDoc]) -> None:
        """Make sure that every shard knows the collections of the documents, bound to the documents' models."""
        wanted: dict[Collection, list[ImageDoc]] = {}
        for document in documents:
            if document.error is None:
                dimension = int(np.size(np.asarray(document.embedding)))
                collection = Collection(collection_of(document), str(document.model_id), dimension)
                wanted.setdefault(collection, []).append(document)
        for collection, group in wanted.items():
            for error in (await self._index_client.ensure_collections([collection])).values():
                for document in group:
                    document.error = Failure.of(error, "gateway")

    async def _store(
        self,
        documents: Sequence[ImageDoc],
        pending: Sequence[int],
        fresh: AnyCollection[str],
        answer: StageAnswer,
        *,
        refresh: bool,
    ) -> list[int]:
        """Try once to store the documents, under a new version.

        Returns:
            The positions to try again, because there is a newer copy, or because the collection was dropped.
        """
        version = self._clock.next()
        for n in pending:
            documents[n].version = version
        sent = [documents[n] for n in pending]
        stored = await self._stages.post("/index", sent, {"refresh": refresh}, self._stages.topology.index)
        add_up(answer.took_ms, stored.took_ms)
        for n, returned in zip(pending, stored.documents, strict=True):
            returned.collection = documents[n].collection
            answer.documents[n] = returned
        stale = {n for n in pending if _code(answer.documents[n]) == _STALE}
        to_supersede = [n for n in pending if _code(answer.documents[n]) is None and documents[n].id not in fresh]
        stale |= await self._supersede(to_supersede, answer)
        dropped = [n for n in pending if _code(answer.documents[n]) == _DROPPED]
        return sorted(stale | await self._bind_again(documents, dropped, answer))

    async def _bind_again(self, documents: Sequence[ImageDoc], dropped: Sequence[int], answer: StageAnswer) -> set[int]:
        """Create the collections again that another gateway dropped, because this write is newer; return those to try again."""
        if not dropped:
            return set()
        self._index_client.forget(collection_of(documents[n]) for n in dropped)
        await self._bind([documents[n] for n in dropped])
        for n in dropped:
            if documents[n].error is not None:
                answer.documents[n] = documents[n]
        return {n for n in dropped if documents[n].error is None}

    async def _supersede(self, written: Sequence[int], answer: StageAnswer) -> set[int]:
        """Remove older copies in other shards after the owner's commit, and correct the results; return those to try again."""
        if not written:
            return set()
        started = time.perf_counter()
        documents = answer.documents
        try:
            results = await self._index_client.supersede([(documents[n], unpack(documents[n])) for n in written])
        except VisualSearchError as error:
            for n in written:
                documents[n] = failed(documents[n], error)
            return set()
        for n, result in zip(written, results, strict=True):
            if documents[n].result == "created" and result in ("replaced", "unchanged"):
                documents[n].result = result
            elif (code := known_code(result)) is not None and code not in _NO_FAULT:
                documents[n] = failed(documents[n], VisualSearchError(code, "an older copy could not be removed"))
        add_up(answer.took_ms, {"supersede": round((time.perf_counter() - started) * 1000, 2)})
        return {n for n, result in zip(written, results, strict=True) if result == _STALE}


def keys_of(documents: Sequence[ImageDoc]) -> list[Key]:
    """Return the keys that a write of these documents locks."""
    return [(collection_of(document), str(document.id)) for document in documents]


def failed(document: ImageDoc, error: VisualSearchError) -> ImageDoc:
    """Return the answer for a write that failed in the index."""
    failure = Failure.of(error, "index")
    return ImageDoc.from_values(id=document.id, collection=document.collection, error=failure)


def _code(document: ImageDoc) -> ErrorCode | None:
    return document.error.code if document.error else None
