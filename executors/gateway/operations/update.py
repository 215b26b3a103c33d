"""`/update`: change the tags of documents. Like a delete, it goes to every shard, because any shard may hold the id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from executors.documents import ImageDoc
from executors.gateway.flow.chunks import Answer, counted
from executors.gateway.flow.route import StageAnswer
from executors.gateway.operations.completion import completed
from executors.gateway.operations.index_writer import keys_of
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import UpdateParameters
from executors.index.wire.documents import unknown


async def update(service: SearchService, request: Request[UpdateParameters]) -> Answer:
    """Change tags; a missing document is an error."""
    sent = {"mode": request.parameters.mode, "refresh": request.parameters.refresh}

    async def post(chunk: list[ImageDoc], _: str) -> StageAnswer:
        return await service.stages.post("/update", chunk, sent, service.stages.topology.index)

    answer = await write_everywhere(service, request.documents, post)
    for asked, answered in zip(request.documents, answer.documents, strict=True):
        if answered.error is None and answered.result == "not_found":
            answered.error = unknown(asked)
    return answer


async def write_everywhere(
    service: SearchService,
    documents: list[ImageDoc],
    post: Callable[[list[ImageDoc], str], Awaitable[StageAnswer]],
) -> Answer:
    """Send a write to every shard.

    Args:
        post: sends a chunk, given the version of that write.
    """
    for document in documents:
        document.blob = document.tensor = document.embedding = None

    async def write(chunk: list[ImageDoc]) -> StageAnswer:
        return await completed(apply(chunk))

    async def apply(chunk: list[ImageDoc]) -> StageAnswer:
        async with service.locks.hold(keys_of(chunk)):
            version = service.clock.next()
            for document in chunk:
                document.version = version
            return await post(chunk, version)

    answer = await service.chunks.send(documents, write)
    service.index_client.check_whole(answer.documents)
    return counted(answer)
