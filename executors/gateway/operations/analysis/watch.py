"""`/watch`: who may watch, and what there is to see."""

from __future__ import annotations

from typing import Any

from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.operations.status import status
from executors.gateway.parameters import NoParameters
from executors.gateway.watching.topics import health_of, rebuilds_of


async def watch(service: SearchService, _: Request[NoParameters]) -> Answer:
    """Let a watcher in; the route sends it the events.

    Raises:
        VisualSearchError: `draining`.
    """
    if service.gate.draining:
        raise VisualSearchError("draining", "this gateway is stopping")
    return Answer([])


async def state_of(service: SearchService) -> dict[str, dict[str, Any]]:
    """Return the present state of each topic."""
    report = (await status(service, Request([], NoParameters()))).extra
    return {
        "health": health_of(report, draining=service.gate.draining),
        "rebuilds": rebuilds_of(report),
        "jobs": service.jobs.to_json(),
    }
