"""`/facets`: how often each value of some tags occurs among the documents that match a filter."""

from __future__ import annotations

import asyncio

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.collections import missing_is_empty
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import FacetParameters
from executors.index.wire.facets import top_values, total_of


async def facets(service: SearchService, request: Request[FacetParameters]) -> Answer:
    """Count the values of tags.

    Raises:
        VisualSearchError: `collection_not_found`, `too_many_values`, `shard_missing`.
    """
    given = request.parameters
    shards = service.index_client.joined().shards
    answer = Answer([], shards_total=shards, shards_answered=shards)
    counted = await _counted(service, given)
    if counted is None:
        answer.extra = {"count": 0, "facets": [{"path": path, "values": [], "more": 0} for path in given.paths]}
        return answer
    answer.shards_total = max(shards, counted.shards_total or 0)
    answer.shards_answered = min(shards, counted.shards_answered or 0)
    # Adding up 100,000 values of each shard takes a tenth of a second.
    found = await asyncio.to_thread(top_values, counted, given.paths, given.limit)
    answer.extra = {"count": total_of(counted), "facets": found}
    return answer


async def _counted(service: SearchService, given: FacetParameters) -> ImageDoc | None:
    """Return the counts of all shards; None for the default collection if nothing was written into it yet."""
    columns = {"collection": given.collection or DEFAULT_COLLECTION, "filter": given.filter, "paths": given.paths}
    try:
        return await service.index_client.ask("/facets", columns, allow_partial=given.allow_partial)
    except VisualSearchError as error:
        if error.code == "collection_not_found" and missing_is_empty(given.collection):
            return None
        raise
