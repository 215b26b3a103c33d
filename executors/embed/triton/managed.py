"""The embedding backend with a managed Triton server, which this replica starts, supervises and stops."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from executors.embed.triton.backend import TritonBackend, is_wrong
from executors.embed.triton.breaker import BreakerLimits
from executors.embed.triton.monitor import Monitor, MonitorPace
from executors.embed.triton.pool import Pool
from executors.errors import VisualSearchError
from executors.models.repository import check_tower
from executors.models.spec import Towers

_log = logging.getLogger(__name__)

_POLL_S: Final = 0.2

# When a server that worked before counts as hung.
_HUNG_AFTER_CHECKS: Final = 3
_HUNG_AFTER_S: Final = 3.0

# A probe of a server on the same machine costs next to nothing.
_LOCAL_BREAKER: Final = BreakerLimits(longest_s=2.0)


class Server(Protocol):
    """The methods of `executors.triton_server.server.TritonServer` that are used here."""

    @property
    def url(self) -> str:
        """`host:port` of its gRPC; may change when it is restarted."""

    def start(self) -> None:
        """Start it, without waiting for it to be ready."""

    def restart(self, reason: str) -> None:
        """End it and start it again, without waiting."""

    def failure(self) -> VisualSearchError | None:
        """The error that keeps it from running; None while it runs."""

    def stop(self) -> None:
        """End it."""

    def status(self) -> dict[str, Any]:
        """JSON values: `pid` (a new one after each start), `restarts`, `last_exit`."""


class ManagedTritonBackend(TritonBackend):
    """The towers on a managed server, which is restarted when it hangs or loses a model."""

    name = "managed-triton"

    def __init__(
        self,
        models_dir: Path,
        towers: Towers,
        server: Server,
        *,
        timeout_s: float,
        total_timeout_s: float,
        in_flight: int,
        cpu_batch: int,
        start_within_s: float = 90.0,
        pace: MonitorPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the arguments; `start` starts the server.

        Args:
            start_within_s: how long it may take to load the models.
            server: not started yet; this backend starts and stops it.
            models_dir, towers, timeout_s, total_timeout_s, in_flight, cpu_batch, pace, clock: as in `TritonBackend`.
        """
        super().__init__(
            models_dir,
            towers,
            [],
            preferred=0,
            timeout_s=timeout_s,
            total_timeout_s=total_timeout_s,
            in_flight=in_flight,
            cpu_batch=cpu_batch,
            pace=pace,
            clock=clock,
        )
        self._options = replace(self._options, breaker=_LOCAL_BREAKER)
        self._clock = clock
        self._server = server
        self._start_within_s = start_within_s

    async def start(self) -> None:
        """Start the server and wait until it is ready. Also raises the error of a failed start, and `triton_failed` if
        it is not ready in time.
        """
        for tower in self.towers:
            await asyncio.to_thread(check_tower, self._models_dir, tower)
        await self._read_references()
        try:
            await asyncio.to_thread(self._server.start)
            await self._wait_until_ready()
        except BaseException:
            await asyncio.to_thread(self._server.stop)
            raise
        self._started = self._some_passed = True

    async def close(self) -> None:
        await super().close()
        await asyncio.to_thread(self._server.stop)

    def status(self) -> dict[str, Any]:
        report = super().status() | {"server": self._server.status()}
        if not report["ready"] and (failure := self._server.failure()) is not None:
            report["error"] = failure.to_json()
        return report

    def _open_pool(self) -> Pool:
        pool = Pool([self._server.url], self.towers, self._options, self._pace)
        pool.also_run(
            _Supervisor(self._server, pool.monitors[0], self._start_within_s, self._pace.supervise_every).run()
        )
        return pool

    async def _wait_until_ready(self) -> None:
        end = self._clock() + self._start_within_s
        while (found := await self._look(self._server.url)) is not None:
            if (failure := self._ended()) is not None:
                raise failure
            if isinstance(found, VisualSearchError) and is_wrong(found):
                raise found
            if self._clock() >= end:
                message = f"the managed Triton was not ready within {self._start_within_s:.0f} s: {found.message}"
                raise VisualSearchError("triton_failed", f"{message} (its log: {self._server.status().get('log')})")
            await asyncio.sleep(_POLL_S)

    def _ended(self) -> VisualSearchError | None:
        """The reason why the server ended while it was starting, even if it was restarted meanwhile."""
        status = self._server.status()
        if status.get("restarts"):
            message = f"the managed Triton can't start: {status.get('last_exit')} (its log: {status.get('log')})"
            return VisualSearchError("triton_failed", message)
        return self._server.failure()


class _Supervisor:
    """Follows the server when it is restarted, and restarts it if it runs but can't be called any more."""

    def __init__(self, server: Server, monitor: Monitor, start_within_s: float, every_s: float) -> None:
        self._server = server
        self._monitor = monitor
        self._start_within_s = start_within_s
        self._every_s = every_s
        self._clock = monitor.endpoint.options.clock
        self._incarnation = _incarnation(server)
        self._up_since = self._clock()
        self._passed = False

    async def run(self) -> None:
        """Supervise until cancelled."""
        while True:
            try:
                await self._look()
            except Exception:  # a defect; without its supervisor the server would be lost for good
                _log.exception("the supervisor of the managed Triton failed")
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        endpoint = self._monitor.endpoint
        if self._server.failure() is not None:  # it is restarting by itself
            return
        if (incarnation := _incarnation(self._server)) != self._incarnation:
            self._came_up(incarnation)
            await endpoint.move(self._server.url)
        self._passed = self._passed or all(endpoint.served(tower) for tower in endpoint.towers)
        since = self._monitor.failing_since
        health = Health(
            passed=self._passed,
            up_s=self._clock() - self._up_since,
            failed_checks=self._monitor.failed_checks,
            failing_s=self._clock() - since if since is not None else 0.0,
            wrong=any(is_wrong(endpoint.verdict(tower).error) for tower in endpoint.towers),
            sick=endpoint.sick,
        )
        if reason := reason_to_restart(health, self._start_within_s):
            self._came_up(self._incarnation)
            endpoint.faults.clear()
            await asyncio.to_thread(self._server.restart, f"{reason}; last: {endpoint.stats.last_error}")

    def _came_up(self, incarnation: tuple[str, Any]) -> None:
        self._incarnation = incarnation
        self._up_since = self._clock()
        self._passed = False


def _incarnation(server: Server) -> tuple[str, Any]:
    return server.url, server.status().get("pid")


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a server whose process runs.

    Attributes:
        passed: whether it could be called at some time since it came up.
        up_s: seconds since it came up.
        failed_checks: failed checks in a row.
        failing_s: seconds since the first of them.
        wrong: whether it answers with another model than the expected one.
        sick: why a part of it seems to be dead or stuck while others answer (`Endpoint.sick`).
    """

    passed: bool
    up_s: float
    failed_checks: int
    failing_s: float
    wrong: bool
    sick: str = ""


def reason_to_restart(health: Health, start_within_s: float) -> str:
    """The reason to restart a running server; empty if there is none.

    A server that has never passed may still be loading. A wrong model would be wrong again. If one of several instances
    of a model is dead or stuck, the checks pass whenever they meet another one; then the calls show it.
    """
    if health.wrong:
        return ""
    if health.sick:
        return health.sick
    if not health.failed_checks:
        return ""
    if not health.passed:
        return "it was not ready in time" if health.up_s >= start_within_s else ""
    if health.failed_checks >= _HUNG_AFTER_CHECKS and health.failing_s >= _HUNG_AFTER_S:
        return f"it could not be called for {health.failing_s:.0f} s"
    return ""
