"""The objects that operations share: the stages, the index, the clock, the model, and the state of this gateway."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.gateway.access import Access
from executors.gateway.admission import Gate
from executors.gateway.flow.chunks import Answer, ChunkSender
from executors.gateway.flow.ready_vectors import ReadyVectors
from executors.gateway.flow.replicas import check_replicas_ready, replica_reports
from executors.gateway.flow.stages import Stages
from executors.gateway.metrics.requests import RequestMetrics
from executors.gateway.readiness import Readiness
from executors.gateway.shards.id_locks import IdLocks
from executors.gateway.shards.index_client import IndexClient
from executors.gateway.watching.jobs import Jobs
from executors.index.versions import HybridClock

# A write ends within its deadline; the factor allows for clocks that differ.
_SETTLED_AFTER: Final = 2.0


class SearchService:
    """The shared objects of a gateway process; each operation is a function of a module in this package.

    Args:
        stages: sends requests to the stages.
        gate: the limit on requests in flight.
        clock: gives versions.
        timeout_s: the deadline of a request, in seconds.
        replicas: the number of replicas that embed.
        access: who may do what; by default everyone may do everything.
    """

    def __init__(
        self,
        stages: Stages,
        gate: Gate,
        clock: HybridClock,
        timeout_s: float,
        *,
        replicas: int = 1,
        access: Access | None = None,
    ) -> None:
        self.stages = stages
        self.gate = gate
        self.access = access or Access()
        self.metrics = RequestMetrics()
        self.readiness = Readiness()
        self.clock = clock
        self.index_client = IndexClient(stages, settle_ms=int(_SETTLED_AFTER * timeout_s * 1000))
        self.locks = IdLocks()
        self.timeout_s = timeout_s
        self.jobs = Jobs()
        # Held while the quality of the graphs is measured.
        self.measuring = asyncio.Lock()
        self.chunks = ChunkSender(replicas)
        self.model: dict[str, Any] = {}

    async def join(self) -> None:
        """Learn the model, and form the index from its shards; the gateway serves nothing before this has succeeded once.

        Raises:
            VisualSearchError: the reason why the flow is not ready.
        """
        membership = await self.index_client.join()
        self.clock.observe(membership.last_version)
        told = {}
        for stage in self.stages.topology.others:
            reports = await replica_reports(self.stages, stage)
            check_replicas_ready(stage, reports)
            told[stage] = reports.answered[0]
        self.model = next((report for report in told.values() if "model_id" in report), {})
        if not self.model:
            raise VisualSearchError("not_ready", "no stage of the flow says which model it runs (`model_id`)")
        self.stages.ready_vectors = ReadyVectors.of(self.model, told)

    def report(self, **extra: Any) -> Answer:
        """Return an answer without documents, to which all shards contributed."""
        shards = self.index_client.joined().shards
        return Answer([], shards_total=shards, shards_answered=shards, extra=extra)
