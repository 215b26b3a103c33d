"""`/embed`: the vectors of pictures and texts, without storing anything."""

from __future__ import annotations

from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import EmbedParameters


async def embed(service: SearchService, request: Request[EmbedParameters]) -> Answer:
    """Return the vectors of the documents."""
    pipeline = service.stages.topology.pipeline
    return await service.chunks.send(
        request.documents, lambda chunk: service.stages.post("/embed", chunk, target=pipeline)
    )
