"""`/index`: insert or replace documents by id. When it is answered, the write is on disk and the only copy."""

from __future__ import annotations

from collections.abc import Sequence

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.index_writer import IndexWriter
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import IndexParameters
from executors.gateway.shards.index_client import mismatch
from executors.index.records import Collection
from executors.index.wire.documents import collection_of


async def index(service: SearchService, request: Request[IndexParameters]) -> Answer:
    """Store documents with the vectors of their pictures, or with ready ones.

    Raises:
        VisualSearchError: `not_ready`, `shard_missing`, or the error of a shard that can't answer.
    """
    shards = service.index_client.joined().shards
    await _refuse_known_mismatches(service, request.documents)
    writer = IndexWriter(service.stages, service.index_client, service.clock, service.locks, service.chunks.parts_of)
    answer = await service.chunks.send(
        request.documents,
        lambda chunk: writer.write(chunk, request.made_ids, refresh=request.parameters.refresh),
    )
    answer.shards_total = answer.shards_answered = shards
    return answer


async def _refuse_known_mismatches(service: SearchService, documents: Sequence[ImageDoc]) -> None:
    """Refuse documents that don't fit their collection before any work is done for them."""
    if _known_mismatches(service, documents):
        # Another gateway may have dropped the collection and created it again.
        await service.index_client.refresh()
    for document, error in _known_mismatches(service, documents):
        document.error = Failure.of(error, "gateway")


def _known_mismatches(
    service: SearchService, documents: Sequence[ImageDoc]
) -> list[tuple[ImageDoc, VisualSearchError]]:
    own = str(service.model.get("model_id", ""))
    bindings = service.index_client.joined().collections
    found = []
    for document in documents:
        bound = bindings.get(collection_of(document))
        given = document.model_id if document.embedding is not None and document.model_id else own
        if document.error is None and bound is not None and given != bound.model_id:
            found.append((document, mismatch(bound, Collection(bound.name, given, bound.dimension))))
    return found
