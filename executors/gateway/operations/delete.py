"""`/delete`: remove documents, by id or by filter, and their descendants."""

from __future__ import annotations

from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.completion import completed
from executors.gateway.operations.deleter import Deleter, count_deleted
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.operations.update import write_everywhere
from executors.gateway.parameters import DeleteParameters


async def delete(service: SearchService, request: Request[DeleteParameters]) -> Answer:
    """Remove documents; a missing document is not an error.

    Raises:
        VisualSearchError: `invalid_parameter` for a filter without a condition, `collection_not_found`.
    """
    deleter = Deleter(service.stages, service.index_client, service.clock)
    if request.parameters.filter is not None:
        return await completed(deleter.delete_matching(request.parameters))
    answer = await write_everywhere(service, request.documents, deleter.delete)
    answer.extra["deleted"] = count_deleted(answer.documents)
    return answer
