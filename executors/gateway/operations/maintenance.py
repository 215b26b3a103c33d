"""The upkeep of the index: `/reindex`, `/verify`."""

from __future__ import annotations

from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.collections import Collections, missing_is_empty
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.operations.verification import verify_index
from executors.gateway.parameters import ReindexParameters, VerifyParameters


async def reindex(service: SearchService, request: Request[ReindexParameters]) -> Answer:
    """Begin to rebuild the graphs of a collection, or of all collections.

    Raises:
        VisualSearchError: `collection_not_found`.
    """
    collection = request.parameters.collection
    if collection is not None and not missing_is_empty(collection):
        await Collections(service.index_client, service.clock).check_known(collection)
    await service.index_client.reindex(collection)
    return service.report(ok=True)


async def verify(service: SearchService, request: Request[VerifyParameters]) -> Answer:
    """Read back the whole index and check it."""
    return service.report(**await verify_index(service.index_client, repair=request.parameters.repair))
