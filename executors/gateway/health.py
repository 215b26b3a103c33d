"""Health, told truthfully: the process, the readiness of the whole, and every part by name."""

from __future__ import annotations

import asyncio
from typing import Any

from executors.errors import VisualSearchError
from executors.gateway.flow.replicas import check_endpoints, check_replicas_ready, replica_reports
from executors.gateway.operations.service import SearchService
from executors.gateway.shards.index_state import index_state
from executors.lifecycle import Logger

_PROBE_TIMEOUT_S = 5.0
_JOIN_INTERVAL_S = 0.5


class Health:
    """Joins the flow in the background until it succeeds, and answers the three health questions."""

    def __init__(self, service: SearchService, logger: Logger) -> None:
        self._service = service
        self._logger = logger
        self._task: asyncio.Task[None] | None = None
        self._readiness = service.readiness

    async def start(self) -> None:
        """Try once now, so that a sound flow is ready when it says so; else go on in the background."""
        if not await self._try_join():
            self._task = asyncio.create_task(self._keep_joining())

    async def stop(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()

    async def full(self) -> tuple[bool, dict[str, Any]]:
        """Ask every stage and every shard now.

        Returns:
            Whether all of them answered, and the state of each by name.
        """
        names = ("preprocess", "embed", "index")
        states = await asyncio.gather(self._probe_preprocess(), self._probe_embed(), self._probe_index())
        report = dict(zip(names, states, strict=True))
        sound = self._readiness.ready and not self._service.gate.draining and all(state["ok"] for state in states)
        return sound, {"ok": sound, "ready": self._readiness.ready, "stages": report}

    async def _probe_preprocess(self) -> dict[str, Any]:
        async def probe() -> dict[str, Any]:
            reports = await replica_reports(self._service.stages, "preprocess")
            check_replicas_ready("preprocess", reports)
            return reports.to_json()

        return await _probe(probe())

    async def _probe_embed(self) -> dict[str, Any]:
        async def probe() -> dict[str, Any]:
            reports = await replica_reports(self._service.stages, "embed")
            check_replicas_ready("embed", reports)
            check_endpoints(reports.answered)
            return reports.to_json()

        return await _probe(probe())

    async def _probe_index(self) -> dict[str, Any]:
        async def probe() -> dict[str, Any]:
            state = await index_state(self._service)
            if state.error is not None:
                raise state.error
            if self._readiness.reason is not None:
                raise self._readiness.reason
            return {"shards": state.counts()}

        return await _probe(probe())

    async def _try_join(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._service.join()
        except (VisualSearchError, TimeoutError) as error:
            reason = error if isinstance(error, VisualSearchError) else VisualSearchError("not_ready", "no answer yet")
            if str(reason) != str(self._readiness.reason):
                self._logger.error(f"not ready: {reason}")
            self._readiness.reason = reason
            return False
        self._readiness.set_ready()
        return True

    async def _keep_joining(self) -> None:
        joined = False
        while not joined:
            await asyncio.sleep(_JOIN_INTERVAL_S)
            joined = await self._try_join()


async def _probe(question: Any) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            return {"ok": True, **await question}
    except VisualSearchError as error:
        return {"ok": False, "error": error.to_json()}
    except TimeoutError:
        return {"ok": False, "error": VisualSearchError("deadline_exceeded", "no answer in time").to_json()}
