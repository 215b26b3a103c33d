"""`/get` reads documents by id; `/thumbnail` reads the thumbnail of one document."""

from __future__ import annotations

from collections.abc import Sequence

from executors.documents import ImageDoc
from executors.gateway.flow.chunks import Answer, add_up, by_collection, counted
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import GetParameters, ThumbnailParameters


async def get(service: SearchService, request: Request[GetParameters]) -> Answer:
    """Read documents by id."""
    given = request.parameters
    answer = await read(service, request.documents, given.with_)
    service.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
    return counted(answer)


async def thumbnail(service: SearchService, request: Request[ThumbnailParameters]) -> Answer:
    """Read the thumbnail and the version of one document; without the thumbnail if the caller has that version."""
    known = request.parameters.known
    if known:
        answer = await _whole(service, request.documents, [])
        if answer.documents[0].error is not None or answer.documents[0].version in known:
            return answer
    return await _whole(service, request.documents, ["thumbnail"])


async def read(service: SearchService, documents: Sequence[ImageDoc], wanted: Sequence[str]) -> Answer:
    """Read documents of any collections, with the additional columns in `wanted`; the answer has the same order."""
    found = list(documents)
    took_ms: dict[str, float] = {}
    for positions in by_collection(documents):
        answer = await service.chunks.send(
            [documents[n] for n in positions],
            lambda chunk: service.stages.post("/get", chunk, {"with": list(wanted)}, service.stages.topology.index),
        )
        for n, document in zip(positions, answer.documents, strict=True):
            found[n] = document
        add_up(took_ms, answer.took_ms)
    return Answer(found, took_ms)


async def _whole(service: SearchService, documents: Sequence[ImageDoc], wanted: Sequence[str]) -> Answer:
    answer = await read(service, documents, wanted)
    service.index_client.check_whole(answer.documents)
    return counted(answer)
