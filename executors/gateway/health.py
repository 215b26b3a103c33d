"""Health, told truthfully: the process, the readiness of the whole, and every part by name."""

from __future__ import annotations

import asyncio
from typing import Any

from executors.errors import Logger, VisualSearchError
from executors.gateway.flow.replicas import check_endpoints, check_replicas_ready, replica_reports
from executors.gateway.operations.service import SearchService
from executors.gateway.shards.index_state import index_state

_PROBE_TIMEOUT_S = 5.0
_JOIN_INTERVAL_S = 0.5


class Health:
    """Joins the flow in the background until it succeeds, and answers the three health questions."""

    def __init__(self, service: SearchService, logger: Logger) -> None:
        self._service = service
        self._logger = logger
        self._task: asyncio.Task[None] | None = None
        self.ready = False
        self.reason: VisualSearchError | None = VisualSearchError("not_ready", "the flow is starting")

    async def start(self) -> None:
        """Try once now, so that a sound flow is ready when it says so; else go on in the background."""
        if not await self._try_join():
            self._task = asyncio.create_task(self._keep_joining())

    async def stop(self) -> None:
        """Stop trying."""
        if self._task is not None:
            self._task.cancel()

    def check_ready(self) -> None:
        """Refuse work before the flow has heard from every stage once.

        Raises:
            VisualSearchError: why it is not ready: `not_ready`, `shard_identity`, `unavailable`, `draining`.
        """
        if self._service.gate.draining:
            raise VisualSearchError("draining", "this gateway is stopping")
        if not self.ready:
            raise self.reason or VisualSearchError("not_ready", "the flow is starting")

    async def full(self) -> tuple[bool, dict[str, Any]]:
        """Ask every stage and every shard now.

        Returns:
            Whether all of them answered, and the state of each by name.
        """
        names = ("preprocess", "embed", "index")
        states = await asyncio.gather(self._probe_preprocess(), self._probe_embed(), self._probe_index())
        report = dict(zip(names, states, strict=True))
        sound = self.ready and not self._service.gate.draining and all(state["ok"] for state in states)
        return sound, {"ok": sound, "ready": self.ready, "stages": report}

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
            if self.reason is not None:
                raise self.reason
            return {"shards": state.counts()}

        return await _probe(probe())

    async def _try_join(self) -> bool:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await self._service.join()
        except (VisualSearchError, TimeoutError) as error:
            reason = error if isinstance(error, VisualSearchError) else VisualSearchError("not_ready", "no answer yet")
            if self.reason is None or str(reason) != str(self.reason):
                self._logger.error(f"not ready: {reason}")
            self.reason = reason
            return False
        self.ready, self.reason = True, None
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
