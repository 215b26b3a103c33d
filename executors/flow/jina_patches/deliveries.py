"""Sends a request to one of the replicas of a stage (in the gateway) or of a shard (in its head).

Jina gives every replica its turn, even a dead or frozen one. It waits for a frozen replica until a third of the deadline is
over, and its retries use up the turns of the healthy ones, so that every request meets the frozen one. Here, if a call
takes longer than a second, its replica is asked whether it lives (gRPC's health service, on the same connection). If it
does not answer that either, it is left out: its requests go to another replica, and a background task asks it again.

A frozen replica may still execute a write when it goes on. Versions make that harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlparse

import grpc
from grpc.aio import AioRpcError, Metadata
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from jina.excepts import InternalNetworkError
from jina.serve.networking import GrpcConnectionPool
from jina.serve.networking.connection_pool_map import _ConnectionPoolMap
from jina.serve.networking.replica_list import _ReplicaList
from jina.serve.networking.utils import DEFAULT_MINIMUM_RETRIES

from executors.flow.jina_patches.absences import ASK_WITHIN_S, Absences

# The wait for a replica that is alone, which is longer, because no other replica could answer instead.
_PATIENCE_S: Final = 5.0
# A status request must soon find out which process is silent.
_STATUS: Final = "/status"
_NO_ANSWER: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


class _SilentError(Exception):
    """The replica answers neither the request nor a question."""


def leave_out_silent_replicas() -> None:
    """Replace the function by which Jina's connection pool sends a request to a list of replicas."""
    add = _ConnectionPoolMap._add_connection
    close = _ReplicaList.close

    def add_connection(self: Any, deployment: str, entity_id: int, address: str, kind: str) -> None:
        add(self, deployment, entity_id, address, kind)
        replicas = self._deployments[deployment][kind][entity_id]
        replicas.place = _place(replicas.runtime_name, deployment, entity_id, kind)

    async def close_list(self: Any) -> None:
        if (absences := getattr(self, "absences", None)) is not None:
            absences.close()
        await close(self)

    _ConnectionPoolMap._add_connection = add_connection
    _ReplicaList.close = close_list
    GrpcConnectionPool._send_requests = _send_requests


def _place(runtime: str, deployment: str, entity: int, kind: str) -> str:
    """Return Jina's name of the stage or shard of the replicas: `embed`, `index/shard-1`, or in a head `index/uses_after`."""
    if kind != "shards":
        return deployment
    if not runtime.endswith("/head"):  # a gateway that calls the shards itself
        return f"{deployment}/shard-{entity}"
    stage = runtime.rpartition("/")[0]
    return f"{stage}/{deployment}" if deployment.startswith("uses_") else f"{stage}/shard-{entity}"


def replica_name(replicas: Any, address: str) -> str:
    """Return a name such as `embed/rep-1`, `index/shard-0/rep-0` or `index/uses_after-0`.

    A process that is alone, which may be a head, has the name of its stage.
    """
    number = replicas._address_to_connection_idx.get(_netloc(address), 0)
    if "/uses_" in replicas.place:
        return f"{replicas.place}-{number}"
    alone = len(replicas._connections) == 1 and "/" not in replicas.place
    return str(replicas.place) if alone else f"{replicas.place}/rep-{number}"


def absences_of(replicas: Any) -> Absences:
    """Return the absences of a list of replicas; the first request makes them, on its event loop."""
    known: Absences | None = getattr(replicas, "absences", None)
    if known is None:

        async def ask(address: str, within_s: float) -> bool:
            return await _answers_health(replicas, address, within_s)

        known = Absences(ask, lambda address: f"{replica_name(replicas, address)} ({address})")
        replicas.absences = known
    return known


def addresses_of(replicas: Any) -> list[str]:
    """Return the addresses in the order of the replicas' numbers."""
    return [connection.address for connection in replicas.get_all_connections()]


def connection_to(replicas: Any, address: str) -> Any:
    """Return the connection to an address; after a reset it is a new one."""
    return replicas._connections[replicas._address_to_connection_idx[_netloc(address)]]


def _netloc(address: str) -> str:
    return urlparse(address).netloc or address


async def _answers_health(replicas: Any, address: str, within_s: float) -> bool:
    """Return whether the process answers at all; the content of the answer does not matter.

    A connection that was idle may have been closed; the first question fails then, and opens another one.
    """
    for last in (False, True):
        try:
            channel = connection_to(replicas, address).channel
            await asyncio.wait_for(HealthStub(channel).Check(HealthCheckRequest(), timeout=within_s), within_s + 0.5)
        except AioRpcError as error:
            if last or error.code() != grpc.StatusCode.UNAVAILABLE:
                return error.code() not in _NO_ANSWER
        except Exception:  # a connection that was closed meanwhile; the replica is asked again
            return False
        else:
            return True
    return False


async def deliver(
    pool: GrpcConnectionPool,
    requests: list[Any],
    replicas: Any,
    metadata: dict[str, str],
    timeout_s: float | None,
    retries: int | None,
) -> tuple[Any, Any]:
    """Have one of the replicas answer.

    Args:
        timeout_s: of each try, in seconds.

    Returns:
        The answer, and the metadata that came behind it.

    Raises:
        InternalNetworkError: none of the replicas that were tried answered.
        Exception: the call failed in another way.
    """
    outcome = await _Delivery(pool, requests, replicas, tuple(metadata.items()), timeout_s, retries).run()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome  # type: ignore[no-any-return]


def _send_requests(
    self: GrpcConnectionPool,
    requests: list[Any],
    connections: Any,
    endpoint: str | None = None,
    metadata: dict[str, str] | None = None,
    timeout: float | None = None,
    retries: int | None = -1,
) -> asyncio.Task[Any]:
    """Replace `GrpcConnectionPool._send_requests`: return a task whose result is the answer, or the error as a value."""
    sent = {**(metadata or {}), **({"endpoint": endpoint} if endpoint else {})}
    delivery = _Delivery(self, requests, connections, tuple(sent.items()) or None, timeout, retries)
    return asyncio.create_task(delivery.run())


def _endpoint_of(request: Any, metadata: tuple[tuple[str, str], ...] | None) -> str | None:
    """The endpoint that is called; a head names it in the message only."""
    named = next((value for key, value in metadata or () if key == "endpoint"), None)
    return named or getattr(getattr(request, "header", None), "exec_endpoint", None)


class _Delivery:
    """The delivery of one request to a replica that answers it."""

    def __init__(
        self,
        pool: GrpcConnectionPool,
        requests: list[Any],
        replicas: Any,
        metadata: tuple[tuple[str, str], ...] | None,
        timeout: float | None,
        retries: int | None,
    ) -> None:
        self._pool = pool
        self._requests = requests
        self._replicas = replicas
        self._metadata = metadata
        self._timeout = timeout or None
        self._absences = absences_of(replicas)
        self._tried: list[str] = []
        if retries is None or retries < 0:
            retries = max(DEFAULT_MINIMUM_RETRIES, len(replicas.get_all_connections()))
        self._tries = 1 + retries
        self._ask_after = min(ASK_WITHIN_S, (timeout or 60) / 3)
        self._patience = _PATIENCE_S
        if _endpoint_of(requests[0], metadata) == _STATUS:
            # So a status request is given up soon, after at most two tries; behind a head, each takes a second.
            self._patience, self._tries = self._ask_after, min(self._tries, 2)

    async def run(self) -> Any:
        """Try replicas until one answers; return its answer, or the last error."""
        failure: Exception | None = None
        silent = 0
        number = 0
        while number < self._tries and silent < len(addresses_of(self._replicas)):
            address = await self._choose()
            if address is None:
                break
            connection = connection_to(self._replicas, address)
            self._tried.append(address)
            try:
                return await self._answer_of(connection, address)
            except _SilentError:
                # A silent replica does not count as a try; the tries are for replicas that live.
                silent += 1
                failure = self._no_answer(grpc.StatusCode.DEADLINE_EXCEEDED)
                continue
            except AioRpcError as error:
                fault = await self._pool._handle_aiorpcerror(
                    error=error,
                    retry_i=number,
                    request_id=self._requests[0].request_id,
                    tried_addresses=set(self._tried),
                    total_num_tries=self._tries,
                    current_address=connection.address,
                    current_deployment=connection.deployment_name,
                    connection_list=self._replicas,
                )
                if error.code() in _NO_ANSWER and not await self._absences.answers(address, self._ask_after):
                    self._absences.leave_out(address, alone=not self._others(address))
                if fault:
                    return fault
                failure = self._network_error(error)
            except Exception as error:  # Jina's callers expect errors as values
                return error
            number += 1
        return failure or self._no_answer(grpc.StatusCode.UNAVAILABLE)

    async def _choose(self) -> str | None:
        """Return the next replica in turn: one that is present and was not tried, or else any that answers a question."""
        addresses = addresses_of(self._replicas)
        for wanted in (self._absences.present(self._untried(addresses)), self._absences.present(addresses)):
            if wanted:
                return self._in_turn(wanted)
        answers = await asyncio.gather(*(self._absences.answers(each, self._ask_after) for each in addresses))
        back = [address for address, answered in zip(addresses, answers, strict=True) if answered]
        return self._in_turn(self._untried(back) or back) if back else None

    def _untried(self, addresses: Sequence[str]) -> list[str]:
        return [address for address in addresses if address not in self._tried]

    def _in_turn(self, wanted: Sequence[str]) -> str:
        addresses = addresses_of(self._replicas)
        turn = self._replicas._rr_counter
        for step in range(len(addresses)):
            address = addresses[(turn + step) % len(addresses)]
            if address in wanted:
                self._replicas._rr_counter = (turn + step + 1) % len(addresses)
                return str(address)
        return wanted[0]

    def _others(self, address: str) -> list[str]:
        """Return the replicas that could take this request instead."""
        others = [each for each in self._untried(addresses_of(self._replicas)) if each != address]
        return self._absences.present(others)

    async def _answer_of(self, connection: Any, address: str) -> Any:
        """Wait for the answer; if it takes long, ask the replica whether it lives.

        Raises:
            _SilentError: the replica does not answer the question.
            AioRpcError: the call failed.
        """
        watching: list[asyncio.Task[None]] = []

        def watch(limit: asyncio.Timeout) -> None:
            watching.append(asyncio.create_task(self._watch(address, limit)))

        try:
            async with asyncio.timeout(None) as limit:
                watch_later = asyncio.get_running_loop().call_later(self._ask_after, watch, limit)
                try:
                    return await connection.send_requests(
                        requests=self._requests,
                        metadata=self._metadata,
                        compression=self._pool.compression,
                        timeout=self._timeout,
                    )
                finally:
                    watch_later.cancel()
                    for task in watching:
                        task.cancel()
        except TimeoutError:
            raise _SilentError from None

    async def _watch(self, address: str, limit: asyncio.Timeout) -> None:
        """Ask the replica again and again while its answer is waited for, and end the wait when it is silent."""
        clock = asyncio.get_running_loop().time
        last_sign = clock() - self._ask_after
        while True:
            asked = clock()
            answered = await self._absences.answers(address, self._ask_after)
            # If the question took longer than its own timeout, it was this process that stood still.
            if answered or clock() - asked > 2 * self._ask_after + 1:
                last_sign = clock()
            elif self._others(address) or clock() - last_sign >= self._patience:
                self._absences.leave_out(address, alone=not self._others(address))
                limit.reschedule(clock())
                return
            await asyncio.sleep(self._ask_after)

    def _no_answer(self, code: grpc.StatusCode) -> InternalNetworkError:
        names = [replica_name(self._replicas, each) for each in addresses_of(self._replicas)]
        stage = self._replicas.place.partition("/")[0]
        details = f"deployment `{stage}`: no answer from {' and '.join(names)}"
        # A head passes only the details on to the gateway.
        return self._network_error(AioRpcError(code, Metadata(), Metadata(), details=details), names)

    def _network_error(self, error: AioRpcError, addresses: Sequence[str] = ()) -> InternalNetworkError:
        return InternalNetworkError(
            og_exception=error,
            request_id=self._requests[0].request_id,
            dest_addr=set(addresses or self._tried),
            details=error.details(),
        )
