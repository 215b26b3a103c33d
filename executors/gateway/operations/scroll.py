"""`/scroll` reads documents in the order of their ids; `/count` counts them."""

from __future__ import annotations

from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.request import Request
from executors.gateway.operations.scroller import Scroller
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import CountParameters, ScrollParameters


async def scroll(service: SearchService, request: Request[ScrollParameters]) -> Answer:
    """Read a page of documents."""
    return await Scroller(service.index_client).scroll(request.parameters)


async def count(service: SearchService, request: Request[CountParameters]) -> Answer:
    """Count documents."""
    return await Scroller(service.index_client).count(request.parameters)
