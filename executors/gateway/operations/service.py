"""What the gateway does for a request, whichever protocol brought it: admit, stamp, chunk, post, account, answer."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from executors.documents import DEFAULT_COLLECTION, Failure, ImageDoc
from executors.errors import ERRORS, VisualSearchError
from executors.gateway.document_checks import Gate, admit_documents, check_id, check_request
from executors.gateway.flow.chunks import Answer, ChunkSender, by_collection, counted, in_order, size_of
from executors.gateway.flow.replicas import check_replicas_ready, replica_reports
from executors.gateway.flow.stages import StageAnswer, Stages
from executors.gateway.operations.completion import completed
from executors.gateway.operations.delete import Deleter, count_deleted
from executors.gateway.operations.index import PIPELINE, IndexWriter, keys_of
from executors.gateway.operations.maintenance import Administration
from executors.gateway.operations.scroll import Scroller, refuse_documents
from executors.gateway.operations.search import account_of_plans, shard_parameters
from executors.gateway.parameters import (
    THUMBNAIL_URL,
    CountParameters,
    DeleteParameters,
    EmbedParameters,
    GetParameters,
    IndexParameters,
    ScrollParameters,
    SearchParameters,
    UpdateParameters,
    parse_parameters,
)
from executors.gateway.shards.id_locks import IdLocks
from executors.gateway.shards.index_client import INDEX, IndexClient, mismatch
from executors.gateway.shards.lost_shards import LostShards
from executors.index.records import Collection
from executors.index.versions import HybridClock
from executors.index.wire.documents import collection_of, unknown
from executors.scheduling.turns import Turn, current_turn, is_bulk

# With one of these in every document, the request failed as a whole.
_SERVICE_STATUS = 500
# A write is over within its deadline; a clock may be a little off.
_SETTLED_AFTER = 2.0


Operation = Callable[[list[ImageDoc], Any], Awaitable[Answer]]


class SearchService:
    """The operations of the API on documents. One instance a gateway process."""

    def __init__(
        self,
        stages: Stages,
        gate: Gate,
        clock: HybridClock,
        max_documents: int,
        timeout_s: float,
        *,
        replicas: int = 1,
    ) -> None:
        self.stages = stages
        self.gate = gate
        self.index_client = IndexClient(stages, settle_ms=int(_SETTLED_AFTER * timeout_s * 1000))
        self.model: dict[str, Any] = {}
        self._clock = clock
        # Stages tell requests of several gateways apart.
        self._name = uuid.uuid4().hex[:8]
        self._numbers = itertools.count()
        self._max_documents = max_documents
        self._timeout_s = timeout_s
        self._chunks = ChunkSender(stages.logger, replicas)
        self._lost_shards = LostShards(self.index_client)
        self._locks = IdLocks()
        self._writer = IndexWriter(stages, self.index_client, clock, self._locks)
        self._deleter = Deleter(stages, self.index_client, clock)
        self._scroller = Scroller(self.index_client)
        administration = Administration(self.index_client, clock, lambda: self.model)
        self.operations: dict[str, Operation] = {
            "/index": self.index,
            "/search": self.search,
            "/update": self.update,
            "/delete": self.delete,
            "/get": self.get,
            "/scroll": self.scroll,
            "/count": self.count,
            "/embed": self.embed,
            **administration.operations,
        }

    async def handle(self, endpoint: str, documents: list[ImageDoc], parameters: Any) -> Answer:
        """The one function that takes every request, from inside `admitted`.

        Raises:
            VisualSearchError: the request failed as a whole.
        """
        operation = self.operations.get(endpoint)
        if operation is None:
            raise VisualSearchError("unknown_endpoint", f"no endpoint {endpoint!r}", endpoints=sorted(self.operations))
        started = time.perf_counter()
        bulk = is_bulk(len(documents), sum(map(size_of, documents)))
        current_turn.set(Turn(f"{self._name}-{next(self._numbers)}", bulk))
        await self._lost_shards.check(endpoint)
        try:
            answer = await operation(documents, parameters)
        except VisualSearchError as error:
            self._lost_shards.note(error.code)
            raise
        answer.took_ms["total"] = round((time.perf_counter() - started) * 1000, 2)
        self._lost_shards.note_all(answer.documents)
        _raise_if_service_failed(answer.documents)
        return answer

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A place in the gate and a deadline for whatever runs inside.

        Raises:
            VisualSearchError: `overloaded`, `draining`, `deadline_exceeded`.
        """
        with self.gate.enter():
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield
            except TimeoutError:
                raise VisualSearchError(
                    "deadline_exceeded", f"no answer within {self._timeout_s:g} s", timeout_s=self._timeout_s
                ) from None

    async def join(self) -> None:
        """Learn the model, and form the index from its shards; needed once before anything is served.

        Raises:
            VisualSearchError: what keeps the flow from being ready.
        """
        membership = await self.index_client.join()
        self._clock.observe(membership.last_version)
        check_replicas_ready("preprocess", await replica_reports(self.stages, "preprocess"))
        reports = await replica_reports(self.stages, "embed")
        check_replicas_ready("embed", reports)
        self.model = reports.answered[0]

    async def index(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """Insert or replace by id: durable, and the only copy, when it is answered."""
        given = parse_parameters(IndexParameters, parameters)
        check_request(documents, self._max_documents, given.collection)
        made = admit_documents(documents, collection=given.collection, make_ids=True, thumbnails=True)
        shards = self.index_client.joined().shards
        await self._refuse_known_mismatches(documents)
        fresh = {str(documents[position].id) for position in made}
        answer = await self._chunks.send(
            documents, lambda chunk: self._writer.write(chunk, fresh, refresh=given.refresh)
        )
        answer.shards_total = answer.shards_answered = shards
        return answer

    async def search(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """The best matches of every query: a picture, a text, or a vector."""
        given = parse_parameters(SearchParameters, parameters)
        if given.like is not None:
            documents = [await self._like(documents, given)]
        check_request(documents, self._max_documents, given.collection)
        admit_documents(documents, collection=given.collection, make_ids=True, queries=True)
        sent = shard_parameters(given)

        async def query(chunk: list[ImageDoc]) -> StageAnswer:
            answer = await self.stages.post("/search", chunk, sent)
            for document in answer.documents:
                if (
                    document.error is not None
                    and document.error.code == "collection_not_found"
                    and not given.collection
                ):
                    # The default collection that nobody wrote to yet is empty, not unknown.
                    document.error = None
            return answer

        answer = await self._chunks.send(documents, query)
        self.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
        if given.fields is None or THUMBNAIL_URL in given.fields:
            answer.thumbnails_in = given.collection or DEFAULT_COLLECTION
        if given.explain:
            answer.extra["explain"] = account_of_plans(answer.documents)
        return counted(answer)

    async def update(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """Change the tags of documents."""
        given = parse_parameters(UpdateParameters, parameters)

        async def update(chunk: list[ImageDoc], _: str) -> StageAnswer:
            return await self.stages.post("/update", chunk, {"mode": given.mode, "refresh": given.refresh}, INDEX)

        answer = await self._write_everywhere(documents, given.collection, update, tags_only=True)
        for asked, answered in zip(documents, answer.documents, strict=True):
            if answered.error is None and answered.result == "not_found":
                answered.error = unknown(asked)
        return answer

    async def delete(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """Remove documents, by id or by filter, and what came from them."""
        given = parse_parameters(DeleteParameters, parameters)
        if given.filter is not None:
            if documents:
                raise VisualSearchError("invalid_parameter", "filter: takes the place of `data`; send one or the other")
            return await completed(self._deleter.delete_matching(given))
        answer = await self._write_everywhere(documents, given.collection, self._deleter.delete)
        answer.extra["deleted"] = count_deleted(answer.documents)
        return answer

    async def scroll(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """Documents in the order of their ids."""
        refuse_documents(documents)
        return await self._scroller.scroll(parse_parameters(ScrollParameters, parameters))

    async def count(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """How many documents there are."""
        refuse_documents(documents)
        return await self._scroller.count(parse_parameters(CountParameters, parameters))

    async def get(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """Read documents by id."""
        given = parse_parameters(GetParameters, parameters)
        check_request(documents, self._max_documents, given.collection)
        admit_documents(documents, collection=given.collection, make_ids=False)
        answer = await self._read(documents, list(given.with_))
        self.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
        return counted(answer)

    async def embed(self, documents: list[ImageDoc], parameters: Any) -> Answer:
        """The vectors of pictures and texts, without storing anything."""
        parse_parameters(EmbedParameters, parameters)
        check_request(documents, self._max_documents)
        admit_documents(documents, collection=None, make_ids=True, queries=True)
        return await self._chunks.send(documents, lambda chunk: self.stages.post("/embed", chunk, target=PIPELINE))

    async def _like(self, documents: Sequence[ImageDoc], given: SearchParameters) -> ImageDoc:
        """The query that stands for an indexed document: its vector, as it is stored."""
        if documents:
            raise VisualSearchError("invalid_parameter", "like: takes the place of `data`; send one or the other")
        check_id(given.like)
        wanted = ImageDoc.from_values(id=given.like, collection=given.collection)
        answer = await self._read([wanted], ["embedding"])
        self.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
        found = answer.documents[0]
        if found.error is not None:
            raise found.error.to_error()
        return ImageDoc.from_values(id=found.id, embedding=np.asarray(found.embedding), model_id=found.model_id)

    async def _read(self, documents: list[ImageDoc], wanted: list[str]) -> Answer:
        groups = by_collection(documents)
        answers = [
            await self._chunks.send(group, lambda chunk: self.stages.post("/get", chunk, {"with": wanted}, INDEX))
            for group in groups
        ]
        return in_order(documents, groups, answers)

    async def _write_everywhere(
        self,
        documents: list[ImageDoc],
        collection: str | None,
        post: Callable[[list[ImageDoc], str], Awaitable[StageAnswer]],
        *,
        tags_only: bool = False,
    ) -> Answer:
        """A write that every shard tries, because any of them may hold the id; `post` is given its version."""
        check_request(documents, self._max_documents, collection)
        admit_documents(documents, collection=collection, make_ids=False, tags_only=tags_only)
        for document in documents:
            document.blob = document.tensor = document.embedding = None

        async def write(chunk: list[ImageDoc]) -> StageAnswer:
            return await completed(apply(chunk))

        async def apply(chunk: list[ImageDoc]) -> StageAnswer:
            async with self._locks.hold(keys_of(chunk)):
                version = self._clock.next()
                for document in chunk:
                    document.version = version
                return await post(chunk, version)

        answer = await self._chunks.send(documents, write)
        self.index_client.check_whole(answer.documents)
        return counted(answer)

    async def _refuse_known_mismatches(self, documents: Sequence[ImageDoc]) -> None:
        """Refuse what a collection can't take before any work is done for it."""
        if self._known_mismatches(documents):
            # The collection may have been dropped and created again, by another gateway, since this one heard of it.
            await self.index_client.refresh()
        for document, error in self._known_mismatches(documents):
            document.error = Failure.of(error, "gateway")

    def _known_mismatches(self, documents: Sequence[ImageDoc]) -> list[tuple[ImageDoc, VisualSearchError]]:
        own = str(self.model.get("model_id", ""))
        bindings = self.index_client.joined().collections
        found = []
        for document in documents:
            bound = bindings.get(collection_of(document))
            given = document.model_id if document.embedding is not None and document.model_id else own
            if document.error is None and bound is not None and given != bound.model_id:
                found.append((document, mismatch(bound, Collection(bound.name, given, bound.dimension))))
        return found


def _raise_if_service_failed(documents: Sequence[ImageDoc]) -> None:
    """When the service, not the documents, is at fault for all of them, the request failed as a whole."""
    first = documents[0].error if documents else None
    if first is None or ERRORS[first.code].status < _SERVICE_STATUS or first.code == "embedding_failed":
        return
    if all(document.error is not None and document.error.code == first.code for document in documents):
        raise first.to_error()
