"""Operations without documents, for HTTP and gRPC alike: collections, and the upkeep of the index."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.collections import Collections
from executors.gateway.operations.completion import completed
from executors.gateway.operations.scroll import refuse_documents
from executors.gateway.operations.verification import verify_index
from executors.gateway.parameters import (
    CollectionParameters,
    CreateParameters,
    NoParameters,
    ReindexParameters,
    VerifyParameters,
    parse_parameters,
)
from executors.gateway.shards.index_client import IndexClient
from executors.index.versions import HybridClock

Model = TypeVar("Model", bound=BaseModel)
Work: TypeAlias = Callable[[Model], Awaitable[dict[str, Any]]]
Operation: TypeAlias = Callable[[list[ImageDoc], Any], Awaitable[Answer]]


class Administration:
    """The operations by endpoint; their answers stand in `Answer.extra`.

    Args:
        model: what the embedding stage says of the flow's model, as it is known by then.
    """

    def __init__(self, index_client: IndexClient, clock: HybridClock, model: Callable[[], Mapping[str, Any]]) -> None:
        self._index_client = index_client
        self._collections = Collections(index_client, clock)
        self._model = model
        self.operations: dict[str, Operation] = {
            "/collections/create": self._operation(CreateParameters, self._create),
            "/collections/list": self._operation(NoParameters, self._list),
            "/collections/describe": self._operation(CollectionParameters, self._describe),
            "/collections/drop": self._operation(CollectionParameters, self._drop),
            "/reindex": self._operation(ReindexParameters, self._reindex),
            "/verify": self._operation(VerifyParameters, self._verify),
        }

    def _operation(self, model: type[Model], work: Work[Model]) -> Operation:
        async def run(documents: list[ImageDoc], parameters: Any) -> Answer:
            refuse_documents(documents)
            extra = await work(parse_parameters(model, parameters))
            shards = self._index_client.joined().shards
            return Answer([], shards_total=shards, shards_answered=shards, extra=extra)

        return run

    async def _create(self, given: CreateParameters) -> dict[str, Any]:
        return await completed(self._collections.create(given, self._model()))

    async def _list(self, _: NoParameters) -> dict[str, Any]:
        return await self._collections.list()

    async def _describe(self, given: CollectionParameters) -> dict[str, Any]:
        return await self._collections.describe(given.collection)

    async def _drop(self, given: CollectionParameters) -> dict[str, Any]:
        return await completed(self._collections.drop(given.collection))

    async def _reindex(self, given: ReindexParameters) -> dict[str, Any]:
        if given.collection not in (None, DEFAULT_COLLECTION):
            await self._collections.check_known(str(given.collection))
        await self._index_client.reindex(given.collection)
        return {"ok": True}

    async def _verify(self, given: VerifyParameters) -> dict[str, Any]:
        return await verify_index(self._index_client, repair=given.repair)
