"""The index as Jina executors: one shard, and the merge of all of them. Everything worth testing is in plain modules."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from docarray import DocList
from jina import Executor, requests

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.index import answers, merge
from executors.index.records import Collection, Hits, SearchRequest, ShardIdentity, Superseded, WriteOutcome
from executors.index.stores import make_store
from executors.lifecycle import as_error, run_now, start_now, starting
from executors.settings import settings

Documents: TypeAlias = DocList[ImageDoc]
Parameters: TypeAlias = dict[str, Any]
MergeOne: TypeAlias = Callable[[Sequence[ImageDoc], Sequence[merge.Columns]], ImageDoc]


def _merge_of_search(parameters: Parameters) -> MergeOne:
    return partial(merge.merge_search, limit=int(parameters["limit"]), offset=int(parameters["offset"]))


class IndexShard(Executor):
    """One shard of the index: takes documents with vectors, answers with results, hits and reports."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        arguments = self.runtime_args
        # Jina counts a single shard as -1 or 0, depending on the version of the path that starts it.
        self._number = max(0, int(getattr(arguments, "shard_id", 0) or 0))
        self._shards = max(1, int(getattr(arguments, "shards", 1) or 1))
        with starting("index", self.logger):
            chosen = settings()
            self._store = make_store(chosen.store, chosen.workspace / f"shard-{self._number}")
            start_now(self._store.open())

    def close(self) -> None:
        """Called by Jina when the process ends."""
        run_now(self._store.close())

    @requests(on="/index")
    async def index(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Store durably, then answer; documents that an earlier stage refused pass through."""
        sound = [document for document in docs if document.error is None]
        outcomes = await self._write(len(sound), lambda: self._store.put([answers.record_of(each) for each in sound]))
        return self._write_answers(docs, sound, outcomes)

    @requests(on="/update")
    async def update(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """Change tags where this shard holds the id."""
        mode = parameters.get("mode", "merge")
        outcomes = await self._write(
            len(docs), lambda: self._store.update([answers.update_of(each, mode) for each in docs])
        )
        return self._merged_if_alone(self._write_answers(docs, docs, outcomes), merge.merge_write)

    @requests(on="/delete")
    async def delete(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove documents, and remember that they were removed."""
        outcomes = await self._write(len(docs), lambda: self._store.delete([answers.key_of(each) for each in docs]))
        return self._merged_if_alone(self._write_answers(docs, docs, outcomes), merge.merge_write)

    @requests(on="/supersede")
    async def supersede(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Remove the copies here of what another shard has just stored; its own copies are none of its business."""

        async def remove(columns: merge.Columns) -> merge.Columns:
            rows = zip(columns["collections"], columns["ids"], columns["versions"], columns["digests"], strict=True)
            mine = [owner == self._number for owner in columns["owners"]]
            writes = [Superseded(*row) for row, own in zip(rows, mine, strict=True) if not own]
            outcomes = iter(await self._store.supersede(writes))
            return {"results": ["not_found" if own else _supersede_result(next(outcomes)) for own in mine]}

        return self._merged_if_alone(await self._report(docs, remove), merge.merge_supersede)

    @requests(on="/get")
    async def get(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """Read documents by id; one collection a request."""
        wanted = parameters.get("with") or []
        collection = answers.collection_of(docs[0])
        try:
            found = await self._store.get(
                collection,
                [str(document.id) for document in docs],
                embedding="embedding" in wanted,
                thumbnail="thumbnail" in wanted,
            )
        except Exception as error:
            return self._merged_if_alone(self._all_failed(docs, error), merge.merge_get)
        pairs = zip(docs, found, strict=True)
        answered = [answers.stored_answer(document, stored, self._store.identity) for document, stored in pairs]
        return self._merged_if_alone(DocList[ImageDoc](answered), merge.merge_get)

    @requests(on="/search")
    async def search(self, docs: DocList[ImageDoc], parameters: Parameters, **_: Any) -> DocList[ImageDoc]:
        """The best `offset + limit` hits of every query; the merge cuts the page."""
        sound = [document for document in docs if document.error is None]
        found: dict[int, Hits | VisualSearchError] = {}
        for (model_id, _dimension), queries in _by_model(sound).items():
            request = SearchRequest(
                collection=str(parameters.get("collection") or DEFAULT_COLLECTION),
                queries=np.stack([np.asarray(each.embedding, dtype=np.float32) for each in queries]),
                model_id=model_id,
                limit=int(parameters["limit"]) + int(parameters["offset"]),
                threshold=parameters.get("threshold"),
            )
            try:
                hits: Sequence[Hits | VisualSearchError] = await self._store.search(request)
            except Exception as error:
                hits = [as_error(error, "index", self.logger)] * len(queries)
            found.update((id(query), each) for query, each in zip(queries, hits, strict=True))
        answered = [self._search_answer(document, found.get(id(document))) for document in docs]
        return self._merged_if_alone(DocList[ImageDoc](answered), _merge_of_search(parameters))

    @requests(on="/embed")
    async def embed(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Nothing to do: Jina wants every endpoint of a stage in the next one; the gateway does not send it here."""
        return docs

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Who this shard is, and what it holds."""

        async def report(_: merge.Columns) -> merge.Columns:
            return answers.status_columns(await self._store.status(), self._number, self._shards)

        return self._merged_if_alone(await self._report(docs, report), merge.gather, strict=False)

    @requests(on="/verify")
    async def verify(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Read everything back and check it."""

        async def report(_: merge.Columns) -> merge.Columns:
            return answers.verify_columns(await self._store.verify())

        return self._merged_if_alone(await self._report(docs, report), merge.gather)

    @requests(on="/adopt")
    async def adopt(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Become a shard of the index that the gateway names, with the collections that the other shards know."""

        async def take(columns: merge.Columns) -> merge.Columns:
            identity = ShardIdentity(columns["uuid"], self._number, int(columns["shards"]), columns["populated"])
            await self._store.adopt(identity)
            for name, model_id, dimension in columns["collections"]:
                await self._store.ensure_collection(Collection(name, model_id, int(dimension)))
            return {}

        return self._merged_if_alone(await self._report(docs, take), merge.gather)

    async def _report(
        self, docs: Documents, make: Callable[[merge.Columns], Awaitable[merge.Columns]]
    ) -> DocList[ImageDoc]:
        """Answer each document, which stands for the whole request, with columns that `make` makes of its own."""
        answered = DocList[ImageDoc]()
        for document in docs:
            try:
                payload = await make(merge.unpack(document))
                answer = ImageDoc.from_values(id=document.id, hits=merge.pack(self._store.identity, payload))
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
            return [WriteOutcome(error=as_error(error, "index", self.logger))] * count

    def _write_answers(
        self, docs: Documents, tried: Sequence[ImageDoc], outcomes: Sequence[WriteOutcome]
    ) -> DocList[ImageDoc]:
        identity = self._store.identity
        outcome_of = {id(document): outcome for document, outcome in zip(tried, outcomes, strict=True)}
        return DocList[ImageDoc](
            [
                answers.write_answer(document, outcome_of[id(document)], identity)
                if id(document) in outcome_of
                else ImageDoc.from_values(id=document.id, error=document.error, hits=merge.pack(identity, {}))
                for document in docs
            ]
        )

    def _search_answer(self, query: ImageDoc, found: Hits | VisualSearchError | None) -> ImageDoc:
        identity = self._store.identity
        if isinstance(found, Hits):
            hits = merge.pack(identity, merge.hits_to_columns(found))
            return ImageDoc.from_values(id=query.id, tags=query.tags, hits=hits)
        error = query.error if found is None else answers.failure(found)
        return ImageDoc.from_values(id=query.id, tags=query.tags, error=error, hits=merge.pack(identity, {}))

    def _all_failed(self, docs: Documents, error: Exception) -> DocList[ImageDoc]:
        failure = answers.failure(as_error(error, "index", self.logger))
        hits = merge.pack(self._store.identity, {})
        return DocList[ImageDoc]([ImageDoc.from_values(id=each.id, error=failure, hits=hits) for each in docs])

    def _merged_if_alone(self, docs: Documents, merge_one: MergeOne, *, strict: bool = True) -> DocList[ImageDoc]:
        """Jina runs no merge at `shards: 1`, so the only shard applies it to its own answer."""
        return DocList[ImageDoc](merge.merge_shards([docs], merge_one, strict=strict)) if self._shards == 1 else docs


def _supersede_result(outcome: WriteOutcome) -> str:
    return outcome.error.code if outcome.error else str(outcome.result)


def _by_model(documents: Sequence[ImageDoc]) -> dict[tuple[str, int], list[ImageDoc]]:
    """Queries that can be searched together: of one model and one length."""
    groups: dict[tuple[str, int], list[ImageDoc]] = {}
    for document in documents:
        key = (document.model_id or "", int(np.size(np.asarray(document.embedding))))
        groups.setdefault(key, []).append(document)
    return groups


class ShardMerge(Executor):
    """Runs behind the shards (`uses_after`): one answer from those of all shards that gave one."""

    @requests(on="/search")
    async def search(
        self, docs: DocList[ImageDoc], docs_matrix: Any, parameters: Parameters, **_: Any
    ) -> DocList[ImageDoc]:
        """The best hits of all shards."""
        return self._merge(docs, docs_matrix, _merge_of_search(parameters))

    @requests(on=["/update", "/delete"])
    async def write(self, docs: DocList[ImageDoc], docs_matrix: Any, **_: Any) -> DocList[ImageDoc]:
        """The outcome of the shard that holds the id."""
        return self._merge(docs, docs_matrix, merge.merge_write)

    @requests(on="/supersede")
    async def supersede(self, docs: DocList[ImageDoc], docs_matrix: Any, **_: Any) -> DocList[ImageDoc]:
        """What became of the older copies."""
        return self._merge(docs, docs_matrix, merge.merge_supersede)

    @requests(on="/get")
    async def get(self, docs: DocList[ImageDoc], docs_matrix: Any, **_: Any) -> DocList[ImageDoc]:
        """The document of the shard that has it."""
        return self._merge(docs, docs_matrix, merge.merge_get)

    @requests(on=["/verify", "/adopt"])
    async def report(self, docs: DocList[ImageDoc], docs_matrix: Any, **_: Any) -> DocList[ImageDoc]:
        """What every shard says, side by side."""
        return self._merge(docs, docs_matrix, merge.gather)

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], docs_matrix: Any, **_: Any) -> DocList[ImageDoc]:
        """What every shard says, side by side, also of shards that do not fit together."""
        return self._merge(docs, docs_matrix, merge.gather, strict=False)

    @requests(on=["/index", "/embed"])
    async def pass_on(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """One shard took it; its answer is the answer."""
        return docs

    def _merge(
        self, docs: Documents, docs_matrix: Any, merge_one: MergeOne, *, strict: bool = True
    ) -> DocList[ImageDoc]:
        per_shard = docs_matrix or ([docs] if docs else [])
        return DocList[ImageDoc](merge.merge_shards(per_shard, merge_one, strict=strict))
