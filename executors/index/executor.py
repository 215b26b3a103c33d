"""The Jina executors of the index: one shard, and the merge of all shards' answers. The logic is in plain modules."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from docarray import DocList
from jina import Executor, requests

from executors.documents import Failure, ImageDoc, ImageDocs
from executors.errors import VisualSearchError, as_error
from executors.index.records import Hits, WriteOutcome
from executors.index.store import Store
from executors.index.stores import make_store
from executors.index.wire import documents, shard_requests
from executors.index.wire.columns import Columns, pack, unpack
from executors.index.wire.facets import PackedFacets
from executors.index.wire.merges import MERGES, ONE_SHARD, merge_answers
from executors.index.wire.pages import PackedPage
from executors.index.wire.shard_search import columns_of, search_documents
from executors.lifecycle import run_now, start_now, starting
from executors.settings import settings, with_flow_store

_log = logging.getLogger(__name__)
Documents: TypeAlias = DocList[ImageDoc]
Parameters: TypeAlias = dict[str, Any]
Report: TypeAlias = Callable[[Store, Columns], Awaitable[Columns | PackedPage | PackedFacets]]


class IndexShard(Executor):
    """One shard of the index: it takes documents with vectors, and answers with results, hits and reports."""

    def __init__(self, store: str | None = None, **kwargs: Any) -> None:
        """Start the shard's store.

        Args:
            store: the store to use, from a flow file (`uses_with`); VS_STORE overrides it.
        """
        super().__init__(**kwargs)
        arguments = self.runtime_args
        # Jina passes a single shard as -1 or 0, depending on the version that starts it.
        self._number = max(0, int(getattr(arguments, "shard_id", 0) or 0))
        self._shards = max(1, int(getattr(arguments, "shards", 1) or 1))
        with starting("index"):
            chosen = with_flow_store(settings(), store)
            self._store = make_store(chosen, chosen.workspace / f"shard-{self._number}", self._shards)
            start_now(self._store.open())
            for line in self._store.start_notes:
                _log.info("%s", line)

    def close(self) -> None:
        """Called by Jina when the process ends."""
        run_now(self._store.close())

    @requests(on="/index")
    async def index(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """Store durably, then answer; documents that an earlier stage refused pass through."""
        sound = [position for position, document in enumerate(docs) if document.error is None]
        refresh = bool(parameters.get("refresh", True))
        written = await self._write(
            len(sound), lambda: self._store.put([documents.record_of(docs[n]) for n in sound], refresh=refresh)
        )
        outcomes: list[WriteOutcome | None] = [None] * len(docs)
        for position, outcome in zip(sound, written, strict=True):
            outcomes[position] = outcome
        return self._write_answers(docs, outcomes)

    @requests(on="/update")
    async def update(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """Change tags of documents that this shard holds."""
        mode, refresh = parameters.get("mode", "merge"), bool(parameters.get("refresh", True))
        outcomes = await self._write(
            len(docs), lambda: self._store.update([documents.update_of(each, mode) for each in docs], refresh=refresh)
        )
        return self._merged_if_alone("/update", self._write_answers(docs, outcomes))

    @requests(on="/delete")
    async def delete(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove documents and what came from them, and remember that they were removed."""
        outcomes = await self._write(len(docs), lambda: self._store.delete([documents.key_of(each) for each in docs]))
        return self._merged_if_alone("/delete", self._write_answers(docs, outcomes))

    @requests(on="/get")
    async def get(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """Read documents by id; one collection a request."""
        answered = await self._read(docs, parameters.get("with") or [])
        return self._merged_if_alone("/get", DocList[ImageDoc](answered))

    async def _read(self, docs: Documents, wanted: Sequence[str]) -> list[ImageDoc]:
        try:
            found = await self._store.get(
                documents.collection_of(docs[0]),
                [str(document.id) for document in docs],
                embedding="embedding" in wanted,
                thumbnail="thumbnail" in wanted,
            )
        except Exception as error:
            if len(docs) > 1 and isinstance(error, VisualSearchError) and error.code == "store_invalid":
                # A damaged document must not make the others fail.
                return [each for document in docs for each in await self._read(DocList[ImageDoc]([document]), wanted)]
            return list(self._all_failed(docs, error))
        pairs = zip(docs, found, strict=True)
        return [documents.stored_answer(document, stored, self._store.identity) for document, stored in pairs]

    @requests(on="/search")
    async def search(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """The best `offset + limit` hits of every query; the merge cuts the page."""
        found = await search_documents(self._store, docs, parameters)
        pairs = zip(docs, found, strict=True)
        answered = [self._search_answer(document, hits, parameters) for document, hits in pairs]
        return self._merged_if_alone("/search", ImageDocs.construct(answered), parameters)

    @requests(on="/embed")
    async def embed(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Do nothing: Jina requires every endpoint of a stage in the next stage, but the gateway does not call this
        one.
        """
        return docs

    @requests(on="/supersede")
    async def supersede(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove this shard's older copies of documents that another shard has just stored."""
        return await self._report("/supersede", docs, partial(shard_requests.supersede, self._number))

    @requests(on="/adopt")
    async def adopt(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Become a shard of the index that the gateway names, with the collections that it names."""
        return await self._report("/adopt", docs, partial(shard_requests.adopt, self._number))

    @requests(on="/scroll")
    async def scroll(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """The next documents by id."""
        return await self._report("/scroll", docs, shard_requests.scroll)

    @requests(on="/count")
    async def count(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Count documents."""
        return await self._report("/count", docs, shard_requests.count)

    @requests(on="/facets")
    async def facets(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Count the values of tags."""
        return await self._report("/facets", docs, shard_requests.facets)

    @requests(on="/sample")
    async def sample(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Random documents with their vectors."""
        return await self._report("/sample", docs, shard_requests.sample)

    @requests(on="/delete_matching")
    async def delete_matching(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove some of the documents that match."""
        return await self._report("/delete_matching", docs, shard_requests.delete_matching)

    @requests(on="/delete_children")
    async def delete_children(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove descendants of documents that were removed from other shards."""
        return await self._report("/delete_children", docs, shard_requests.delete_children)

    @requests(on="/drop")
    async def drop(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Drop a collection."""
        return await self._report("/drop", docs, shard_requests.drop)

    @requests(on="/reindex")
    async def reindex(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Begin to rebuild the search structures."""
        return await self._report("/reindex", docs, shard_requests.reindex)

    @requests(on="/recent")
    async def recent(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """The last writes that this shard stored."""
        return await self._report("/recent", docs, partial(shard_requests.recent, self._number))

    @requests(on="/verify")
    async def verify(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Read back the whole shard and check it."""
        return await self._report("/verify", docs, shard_requests.verify)

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Report the shard's identity and contents."""
        return await self._report("/status", docs, partial(shard_requests.status, self._number, self._shards))

    async def _report(self, endpoint: str, docs: Documents, make: Report) -> DocList[ImageDoc]:
        return self._merged_if_alone(endpoint, await self._answer(docs, make))

    async def _answer(self, docs: Documents, make: Report) -> DocList[ImageDoc]:
        """Give each document the answer that `make` returns for its columns; each document stands for the whole
        request.
        """
        answered = DocList[ImageDoc]()
        for document in docs:
            try:
                made = await make(self._store, unpack(document))
                answer = documents.report_answer(document, made, self._store.identity)
            except Exception as error:
                answer = self._all_failed(DocList[ImageDoc]([document]), error)[0]
            answered.append(answer)
        return answered

    async def _write(self, count: int, write: Callable[[], Awaitable[list[WriteOutcome]]]) -> list[WriteOutcome]:
        if count == 0:
            return []
        try:
            return await write()
        except Exception as error:
            return [WriteOutcome(error=as_error(error, "index"))] * count

    def _write_answers(self, docs: Documents, outcomes: Sequence[WriteOutcome | None]) -> DocList[ImageDoc]:
        """The answers to writes; without an outcome, the document keeps the error that it came with."""
        identity = self._store.identity
        return DocList[ImageDoc](
            [
                ImageDoc.from_values(id=document.id, error=document.error, hits=pack(identity, {}))
                if outcome is None
                else documents.write_answer(document, outcome, identity)
                for document, outcome in zip(docs, outcomes, strict=True)
            ]
        )

    def _search_answer(
        self, query: ImageDoc, found: Hits | VisualSearchError | None, parameters: Parameters
    ) -> ImageDoc:
        identity = self._store.identity
        if isinstance(found, Hits):
            hits = pack(identity, columns_of(found, parameters))
            return ImageDoc.from_values(id=query.id, tags=query.tags, hits=hits)
        error = query.error if found is None else Failure.of(found, "index")
        return ImageDoc.from_values(id=query.id, tags=query.tags, error=error, hits=pack(identity, {}))

    def _all_failed(self, docs: Documents, error: Exception) -> DocList[ImageDoc]:
        failure = Failure.of(as_error(error, "index"), "index")
        hits = pack(self._store.identity, {})
        return DocList[ImageDoc]([ImageDoc.from_values(id=each.id, error=failure, hits=hits) for each in docs])

    def _merged_if_alone(
        self, endpoint: str, docs: Documents, parameters: Parameters | None = None
    ) -> DocList[ImageDoc]:
        """Jina runs no merge at `shards: 1`, so the only shard applies it to its own answer."""
        if self._shards > 1:
            return docs
        return DocList[ImageDoc](merge_answers(endpoint, [docs], parameters or {}))


class ShardMerge(Executor):
    """Runs behind the shards (`uses_after`): one answer from those of all shards that gave one, as `MERGES` says."""

    @requests(on=list(ONE_SHARD))
    async def pass_on(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Return the answer of the one shard that took the request."""
        return docs


def _bind(endpoint: str) -> None:
    """Have `ShardMerge` merge the answers of an endpoint; Jina does not tell a method which endpoint it is called for."""

    async def merged(
        self: ShardMerge, docs: DocList[ImageDoc], docs_matrix: Any, parameters: Parameters, **_: Any
    ) -> DocList[ImageDoc]:
        per_shard = docs_matrix or ([docs] if docs else [])
        return DocList[ImageDoc](merge_answers(endpoint, per_shard, parameters))

    # What Python does by itself for a name in the body of the class.
    requests(on=endpoint)(merged).__set_name__(ShardMerge, f"merge_{endpoint.strip('/')}")


for _endpoint in MERGES:
    _bind(_endpoint)
