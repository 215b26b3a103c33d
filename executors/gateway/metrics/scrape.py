"""`/metrics`: what this gateway counted, and what every process of the flow reports, in Prometheus' text format."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, generate_latest

from executors.gateway.flow.chunks import Answer
from executors.gateway.metrics.reports import StatusCollector
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.operations.status import whole_status
from executors.gateway.parameters import NoParameters

TEXT: Final = "text"
# A scrape must not wait for a process that hangs; Prometheus' own timeout is 10 s.
_ANSWER_S: Final = 1.0


async def scrape(service: SearchService, _: Request[NoParameters]) -> Answer:
    """Return the metrics as text, in `extra`."""
    return Answer([], extra={TEXT: await text_of(service)})


async def text_of(service: SearchService) -> str:
    """Return the metrics of all processes as text; those that don't answer within a second are shown as not up."""
    registry = CollectorRegistry()
    registry.register(StatusCollector(await whole_status(service, within_s=_ANSWER_S)))
    return (generate_latest(service.metrics.registry) + generate_latest(registry)).decode()
