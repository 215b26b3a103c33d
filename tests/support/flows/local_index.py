"""The index without a flow: shards over plain dictionaries in this process, behind what the gateway posts to.

Documents and parameters take the same way through protobuf as between the processes of a flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from docarray import DocList
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from jina import Executor

from executors.documents import Failure, ImageDoc
from executors.embed.vectors import check_embedding
from executors.errors import VisualSearchError
from executors.gateway.admission import Gate
from executors.gateway.door import Door
from executors.gateway.endpoints import BY_PATH
from executors.gateway.flow.chunks import Answer
from executors.gateway.flow.replica_calls import ReplicaAnswer
from executors.gateway.flow.route import StageAnswer
from executors.gateway.flow.topology import Topology
from executors.gateway.intake import Intake, IntakeLimits
from executors.gateway.operations.service import SearchService
from executors.index.executor import IndexShard, ShardMerge
from executors.index.versions import HybridClock
from tests.support.stores.dictionary_store import DictionaryStore

MODEL = {"model_id": "tiny@1", "dimension": 4}
_ONE_SHARD = frozenset({"/index", "/embed"})


class LocalShard(IndexShard):
    """One shard over a dictionary."""

    def __init__(self, *, number: int, shards: int, store: DictionaryStore, **kwargs: Any) -> None:
        Executor.__init__(self, **kwargs)
        self._number, self._shards, self._store = number, shards, store


class LocalStages:
    """The stages of a flow: ready vectors only, no pictures.

    Attributes:
        owner: the shard that the next `/index` goes to; after it the next one.
        missing: shards that do not answer.
        posted: every endpoint that was posted to, with its documents, as the index got them.
    """

    topology = Topology(("preprocess", "embed", "index"), ("preprocess", "embed"), "index")

    def __init__(self, shards: int) -> None:
        self.stores = [DictionaryStore() for _ in range(shards)]
        self.shards = [
            LocalShard(number=n, shards=shards, store=store, runtime_args={"name": f"index/shard-{n}"})
            for n, store in enumerate(self.stores)
        ]
        self.merge = ShardMerge(runtime_args={"name": "index/tail"})
        self.owner = 0
        self.missing: set[int] = set()
        self.posted: list[tuple[str, list[ImageDoc]]] = []

    async def post(
        self,
        endpoint: str,
        documents: Sequence[ImageDoc],
        parameters: dict[str, Any] | None = None,
        target: str | Sequence[str] | None = None,
    ) -> StageAnswer:
        given = _wired(documents)
        if target != self.topology.index:
            for each in given:
                _embed(each)
            if target is not None:
                return StageAnswer(given)
        self.posted.append((endpoint, given))
        return StageAnswer(await self._ask(endpoint, given, _as_struct(parameters or {})))

    async def ask_each(self, stage: str, endpoint: str) -> list[ReplicaAnswer]:
        return [ReplicaAnswer(f"{stage}/rep-0", ImageDoc.from_values(id="status", hits=b"{}"))]

    async def silent_replicas(self, stage: str) -> list[str]:
        return []

    def calls_shards(self, stage: str) -> bool:
        return False

    async def _ask(self, endpoint: str, documents: list[ImageDoc], parameters: dict[str, Any]) -> list[ImageDoc]:
        asked = [n for n in range(len(self.shards)) if n not in self.missing]
        if endpoint in _ONE_SHARD:
            asked = [self.owner % len(self.shards)]
            self.owner += 1
        if not asked:
            raise VisualSearchError("unavailable", "no shard answers", stage="index")
        matrix = await asyncio.gather(*(self._ask_one(n, endpoint, documents, parameters) for n in asked))
        if len(self.shards) == 1 or endpoint in _ONE_SHARD:
            return list(matrix[0])
        return _wired(await _call(self.merge, endpoint, matrix[0], docs_matrix=matrix, parameters=parameters))

    async def _ask_one(
        self, number: int, endpoint: str, documents: list[ImageDoc], parameters: dict[str, Any]
    ) -> DocList[ImageDoc]:
        answered = await _call(self.shards[number], endpoint, documents, parameters=parameters)
        return DocList[ImageDoc](_wired(answered))


def _embed(document: ImageDoc) -> None:
    """Check a ready vector like the embedding stage, and fill in the model."""
    if document.error is None:
        document.model_id = document.model_id or str(MODEL["model_id"])
        own = document.model_id == MODEL["model_id"]
        try:
            document.embedding = check_embedding(document.embedding, int(str(MODEL["dimension"])) if own else None)
        except VisualSearchError as error:
            document.error = Failure.of(error, "embed")


async def _call(executor: Executor, endpoint: str, documents: Sequence[ImageDoc], **given: Any) -> list[ImageDoc]:
    """Call the method of an executor that Jina would call for a request to the endpoint."""
    answered = await executor.requests[endpoint].fn(executor, docs=DocList[ImageDoc](_wired(documents)), **given)
    return list(answered)


class Caller:
    """Calls the operations as a route does, past the reading of bodies."""

    def __init__(self, service: SearchService, stages: LocalStages) -> None:
        self.service, self.stages = service, stages
        intake = Intake(IntakeLimits(100, 1_000_000_000, 30.0, 1_000))
        self.door = Door(service, intake, max_documents=10_000, timeout_s=30.0)

    async def __call__(self, endpoint: str, *documents: ImageDoc, **parameters: Any) -> Answer:
        if "with_" in parameters:
            parameters["with"] = parameters.pop("with_")
        return await self.door.perform(BY_PATH[endpoint], list(documents), parameters)

    async def index(self, document_id: str, shard: int = 0, **fields: Any) -> str:
        """Index a vector in one shard; the result or the code of the error."""
        self.stages.owner = shard
        vector = fields.pop("embedding", np.eye(4, dtype=np.float32)[0])
        answer = await self("/index", ImageDoc.from_values(id=document_id, embedding=vector, **fields))
        document = answer.documents[0]
        return document.error.code if document.error else str(document.result)

    async def ids(self, **parameters: Any) -> list[str]:
        """All ids, in pages."""
        found: list[str] = []
        after: str | None = parameters.pop("after", "")
        while after is not None:
            answer = await self("/scroll", after=after, **({"limit": 3} | parameters))
            found += [str(each.id) for each in answer.documents]
            after = answer.extra["next"]
        return found


async def local_service(shards: int, stages: LocalStages | None = None) -> tuple[SearchService, LocalStages]:
    """A gateway's service that has joined an index of so many shards; a second gateway is given the same stages."""
    if stages is None:
        stages = LocalStages(shards)
        for store in stages.stores:
            await store.open()
    clock = HybridClock(f"gateway{id(stages)}")
    service = SearchService(stages, Gate(100), clock, 30.0)  # type: ignore[arg-type]  # it posts, as Stages does
    clock.observe((await service.index_client.join()).last_version)
    service.model = dict(MODEL)
    return service, stages


def _wired(documents: Sequence[ImageDoc]) -> list[ImageDoc]:
    return [ImageDoc.from_protobuf(each.to_protobuf()) for each in documents]


def _as_struct(parameters: dict[str, Any]) -> dict[str, Any]:
    struct = Struct()
    struct.update(parameters)
    return dict(MessageToDict(struct))
