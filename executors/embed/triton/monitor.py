"""Monitors one server: verifies its models, probes it if its circuit is open, and notices restarts."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import grpc

from executors.embed.triton.client import CallError, FailureKind, connection_of
from executors.embed.triton.endpoint import Endpoint
from executors.embed.triton.handshake import recheck, verify
from executors.errors import VisualSearchError
from executors.models.spec import Tower

_log = logging.getLogger(__name__)

_CONNECTED: Final = grpc.ChannelConnectivity.READY

# Failures of a check that say nothing about the model.
_NO_VERDICT: Final = frozenset({FailureKind.UNREACHABLE, FailureKind.DEADLINE, FailureKind.BUSY})


@dataclass(frozen=True, slots=True)
class MonitorPace:
    """Intervals and timeouts of a monitor, in seconds.

    Attributes:
        check_every: between two checks of a healthy server.
        retry_after: between two attempts at an unhealthy server, while its circuit is closed.
        verify_every: between two runs of the reference inputs on a healthy server. A model that was reloaded under its
            old id shows in the server's counters; if these have been exceeded already, it shows here.
        verify_within: the timeout of verifying one model.
        check_within: the timeout of a check of one model, and of each question that needs no computing.
        supervise_every: between two checks of a managed server's process and health.
    """

    check_every: float = 2.0
    retry_after: float = 0.5
    verify_every: float = 30.0
    verify_within: float = 5.0
    check_within: float = 2.0
    supervise_every: float = 0.5


class Monitor:
    """The tasks that monitor one endpoint.

    Attributes:
        failed_checks: checks in a row after which not every model could be called.
        failing_since: when the first of them was, by the endpoint's clock; None if there is none.
    """

    def __init__(self, endpoint: Endpoint, pace: MonitorPace) -> None:
        self.endpoint = endpoint
        self.failed_checks = 0
        self.failing_since: float | None = None
        self._pace = pace
        self._clock = endpoint.options.clock
        self._verified_at = float("-inf")
        self._inferences = dict.fromkeys((tower.name for tower in endpoint.towers), 0)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._tasks = [
            asyncio.create_task(self._watch(), name=f"monitor of {self.endpoint.url}"),
            asyncio.create_task(self._watch_connection(), name=f"connection to {self.endpoint.url}"),
        ]

    async def stop(self) -> None:
        """End the tasks."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            try:
                seconds = await self._look()
            except Exception:  # a defect; without its monitor the server would be lost for good
                _log.exception("the monitor of %s failed", self.endpoint.url)
                seconds = self._pace.check_every
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.endpoint.attention.wait()

    async def _look(self) -> float:
        """Run the checks that are due now; returns the seconds until the next time."""
        endpoint, breaker = self.endpoint, self.endpoint.breaker
        endpoint.attention.clear()
        if not breaker.closed:
            if not breaker.begin_probe():
                return breaker.probe_in()
            await self._probe()
        elif unverified := [tower for tower in endpoint.towers if endpoint.served(tower) is None]:
            await self._verify(unverified)
        elif endpoint.suspected and (pause := self._verified_at + self._pace.retry_after - self._clock()) > 0:
            return pause  # if many calls fail, each asks for it
        elif endpoint.suspected or self._clock() - self._verified_at >= self._pace.verify_every:
            await self._verify(endpoint.towers)
        else:
            await self._recheck()
        return self._count()

    def _count(self) -> float:
        if all(self.endpoint.served(tower) for tower in self.endpoint.towers):
            self.failed_checks, self.failing_since = 0, None
            return self._pace.retry_after if self.endpoint.suspected else self._pace.check_every
        self.failed_checks += 1
        self.failing_since = self.failing_since or self._clock()
        return self._pace.retry_after

    async def _probe(self) -> None:
        """Run the one probe of a half-open circuit: the circuit closes if the server answers, even for another model."""
        breaker, answered = self.endpoint.breaker, False
        try:
            answered = await self._verify(self.endpoint.towers)
        finally:
            if answered:
                breaker.record_probe_success()
            else:
                breaker.record_probe_failure()
        self.endpoint.notify_change()

    async def _verify(self, towers: list[Tower]) -> bool:
        """Verify models one after the other; False if the server did not answer."""
        endpoint, client = self.endpoint, self.endpoint.client
        for tower in towers:
            try:
                served = await verify(
                    client,
                    tower,
                    endpoint.options.references.get(tower.name),
                    cpu_batch=endpoint.options.cpu_batch,
                    seconds=self._pace.verify_within,
                    answer_s=self._pace.check_within,
                )
            except VisualSearchError as error:
                if client is endpoint.client:
                    self._reject(tower, error)
            except CallError as failure:
                if client is endpoint.client:
                    self._unanswered(failure)
                return False
            else:
                if client is endpoint.client:
                    if served.inferences < self._inferences[tower.name]:  # the model was reloaded
                        endpoint.faults.clear()
                    self._inferences[tower.name] = served.inferences
                    endpoint.mark_passed(tower, served)
        endpoint.suspected = False
        self._verified_at = self._clock()
        return True

    async def _recheck(self) -> None:
        """Run the cheap check on models that passed."""
        endpoint, client = self.endpoint, self.endpoint.client
        for tower in endpoint.towers:
            try:
                count = await recheck(client, tower, self._inferences[tower.name], self._pace.check_within)
            except VisualSearchError as error:
                if client is endpoint.client:
                    self._reject(tower, error)
            except CallError as failure:
                if client is not endpoint.client:
                    return
                if failure.kind not in _NO_VERDICT:
                    endpoint.stats.count_failure(failure.kind, failure.server_text or failure.message)
                    if failure.kind is FailureKind.REFUSED:  # reloading the model may have repaired a broken part
                        endpoint.faults.clear()
                    endpoint.mark_in_doubt([tower], failure.message)
                else:
                    self._unanswered(failure)
                    return
            else:
                self._inferences[tower.name] = count

    def _reject(self, tower: Tower, error: VisualSearchError) -> None:
        cause = error.__cause__
        text = ""
        if isinstance(cause, CallError):
            text = cause.server_text
            self.endpoint.note_fault(cause)
        self.endpoint.stats.count_failure(error.code, text or error.message)
        self.endpoint.mark_refused(tower, error)

    def _unanswered(self, failure: CallError) -> None:
        """Record that the server did not answer. The verdicts on models that passed stay; models that were being
        verified can't be called.
        """
        endpoint = self.endpoint
        endpoint.stats.count_failure(failure.kind, failure.server_text or failure.message)
        for tower in endpoint.towers:
            if endpoint.undecided(tower):
                endpoint.mark_refused(tower, VisualSearchError("unavailable", f"the server: {failure.message}"))
        if failure.kind in (FailureKind.UNREACHABLE, FailureKind.DEADLINE):
            endpoint.unanswered(failure.message)

    async def _watch_connection(self) -> None:
        """Watch for lost connections, which may mean that the server is being replaced: the models behind the next
        connection have to pass first.
        """
        while True:
            client = self.endpoint.client
            connection = connection_of(client)
            try:
                state = connection.get_state()
                while client is self.endpoint.client:
                    await connection.wait_for_state_change(state)
                    before, state = state, connection.get_state()
                    if before is _CONNECTED:
                        self.endpoint.note_lost_connection()
                    elif state is _CONNECTED:  # a server that was down is up
                        self.endpoint.faults.clear()
            except (grpc.aio.UsageError, AssertionError):  # the channel was closed, since the endpoint moved
                await asyncio.sleep(self._pace.retry_after)
