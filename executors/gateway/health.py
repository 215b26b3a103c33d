"""Health: whether the process answers, whether the flow is ready, and whether each part answers now."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

from executors.errors import VisualSearchError
from executors.gateway.flow.questions import answer_or_error
from executors.gateway.flow.replicas import check_endpoints, check_replicas_ready, replica_reports
from executors.gateway.operations.analysis.watch import state_of
from executors.gateway.operations.service import SearchService
from executors.gateway.shards.index_state import index_state
from executors.gateway.watching.hub import Hub

_log = logging.getLogger(__name__)
_PROBE_TIMEOUT_S = 5.0
_JOIN_INTERVAL_S = 0.5


class Health:
    """Joins the flow in the background until it succeeds, and answers the three health questions.

    Args:
        service: the objects that operations share.
        max_watchers: how many callers of `/watch` there may be at once.

    Attributes:
        hub: tells the watchers about health and work, as they change.
    """

    def __init__(self, service: SearchService, *, max_watchers: int = 64) -> None:
        self._service = service
        self.hub = Hub(partial(state_of, service), limit=max_watchers)
        self._task: asyncio.Task[None] | None = None
        self._readiness = service.readiness

    async def start(self) -> None:
        """Try once now, so that a healthy flow is ready at once; if that fails, go on in the background."""
        if not await self._try_join():
            self._task = asyncio.create_task(self._keep_joining())

    async def stop(self) -> None:
        """Stop trying to join, and tell those who watch that the gateway stops."""
        self.hub.close()
        if self._task is not None:
            self._task.cancel()

    async def full(self) -> tuple[bool, dict[str, Any]]:
        """Ask every stage and every shard now.

        Returns:
            Whether all of them are healthy, and the report: the answer of `/health/full`.
        """
        topology = self._service.stages.topology
        questions = [
            self._ask_index(stage) if stage == topology.index else self._ask_stage(stage) for stage in topology.stages
        ]
        states = await asyncio.gather(*questions)
        report = dict(zip(topology.stages, states, strict=True))
        sound = self._readiness.ready and not self._service.gate.draining and all(state["ok"] for state in states)
        problem = self._service.access.problem
        return sound, {"ok": sound, "ready": self._readiness.ready, "stages": report, "keys_problem": problem}

    async def _ask_stage(self, stage: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            reports = await replica_reports(self._service.stages, stage)
            check_replicas_ready(stage, reports)
            check_endpoints(stage, reports.answered)
            return reports.to_json()

        return _told(await answer_or_error(ask(), stage, _PROBE_TIMEOUT_S))

    async def _ask_index(self, stage: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            state = await index_state(self._service)
            if state.error is not None:
                raise state.error
            if self._readiness.reason is not None:
                raise self._readiness.reason
            return {"shards": state.counts()}

        return _told(await answer_or_error(ask(), stage, _PROBE_TIMEOUT_S))

    async def _try_join(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._service.join()
        except (VisualSearchError, TimeoutError) as error:
            reason = error if isinstance(error, VisualSearchError) else VisualSearchError("not_ready", "no answer yet")
            if str(reason) != str(self._readiness.reason):
                _log.error("not ready: %s", reason)
            self._readiness.reason = reason
            return False
        self._readiness.set_ready()
        return True

    async def _keep_joining(self) -> None:
        joined = False
        while not joined:
            await asyncio.sleep(_JOIN_INTERVAL_S)
            joined = await self._try_join()


def _told(answer: dict[str, Any] | VisualSearchError) -> dict[str, Any]:
    if isinstance(answer, VisualSearchError):
        return {"ok": False, "error": answer.to_json()}
    return {"ok": True, **answer}
