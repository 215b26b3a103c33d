"""A managed server: started, followed when it comes up elsewhere, restarted when it hangs, ended."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from executors.embed.triton.managed import Health, ManagedTritonBackend, reason_to_restart
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.models.models import tiny_model, write_entry
from tests.support.triton.triton_stand_in import StandInTriton, other_weights, pictures, sound, write_references
from tests.unit.embed.triton.conftest import FAST, PATIENCE_S, Clock, until


class OwnServer:
    """A stand-in for a process: it comes up some time after `start`, at another address each time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, towers: Towers) -> None:
        self.triton = StandInTriton(towers)
        self.towers = towers
        self.loading_s = 0.1
        self.ends_with: VisualSearchError | None = None
        self.reasons: list[str] = []
        self.lives = 0
        self.stopped = 0
        self.looks = 0
        self._loop = loop
        self._up: asyncio.Task[None] | None = None
        self._dead: VisualSearchError | None = VisualSearchError("triton_failed", "not started")

    @property
    def url(self) -> str:
        return self.triton.url or "127.0.0.1:9"

    def start(self) -> None:
        self._loop.call_soon_threadsafe(self._begin)
        self._dead = None

    def restart(self, reason: str) -> None:
        self.reasons.append(reason)
        self._loop.call_soon_threadsafe(self._begin)

    def failure(self) -> VisualSearchError | None:
        self.looks += 1
        return self._dead

    def stop(self) -> None:
        self.stopped += 1

    def status(self) -> dict[str, Any]:
        return {"pid": self.lives or None, "restarts": 0, "last_exit": None}

    def die(self) -> None:
        self._dead = VisualSearchError("triton_failed", "it was ended by SIGKILL")

    def _begin(self) -> None:
        self._up = self._loop.create_task(self._come_up())

    async def _come_up(self) -> None:
        if self.lives:
            await self.triton.stop()
        self.lives += 1
        await asyncio.sleep(self.loading_s)
        self._dead = self.ends_with
        if self.ends_with is None:
            self.triton.hung = False
            await self.triton.start()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OwnServer]:
    towers = Towers(write_entry(tmp_path, tiny_model()))
    write_references(tmp_path, towers)
    own = OwnServer(asyncio.get_running_loop(), towers)
    yield own
    if own.triton.url:
        await own.triton.stop()


@pytest.fixture
async def clock() -> Clock:
    return Clock()


@pytest.fixture
async def backend(tmp_path: Path, server: OwnServer, clock: Clock) -> AsyncIterator[ManagedTritonBackend]:
    made = ManagedTritonBackend(
        tmp_path,
        server.towers,
        server,
        timeout_s=0.5,
        total_timeout_s=2,
        in_flight=4,
        cpu_batch=4,
        start_within_s=60,
        pace=FAST,
        clock=clock,
    )
    yield made
    await made.close()


async def until_ready(backend: ManagedTritonBackend) -> None:
    await until(lambda: backend.status()["ready"])


async def supervised(server: OwnServer) -> None:
    """Until the supervisor has looked at it some times more."""
    looks = server.looks
    await until(lambda: server.looks >= looks + 4)


async def test_it_is_ready_when_the_start_ends(backend: ManagedTritonBackend, server: OwnServer) -> None:
    await backend.start()
    report = backend.status()
    assert report["ready"]
    assert report["backend"] == "managed-triton"
    assert report["server"]["pid"] == 1
    orjson.dumps(report)
    vectors = await backend.embed(backend.towers.image, pictures(9))
    np.testing.assert_array_equal(vectors, sound(pictures(9)))


async def test_a_server_that_ends_while_it_starts_says_why(backend: ManagedTritonBackend, server: OwnServer) -> None:
    server.ends_with = VisualSearchError("triton_failed", "the file of the model is damaged")
    with pytest.raises(VisualSearchError, match="the file of the model is damaged"):
        await backend.start()
    assert server.stopped


async def test_a_server_that_never_gets_ready_is_given_up(
    backend: ManagedTritonBackend, server: OwnServer, clock: Clock
) -> None:
    server.loading_s = 3600
    start = asyncio.create_task(backend.start())
    await until(lambda: server.looks >= 2)
    assert not start.done()
    clock.leap(60)
    with pytest.raises(VisualSearchError, match="not ready within 60 s"):
        await start
    assert server.stopped


async def test_a_wrong_model_is_told_at_once(backend: ManagedTritonBackend, server: OwnServer) -> None:
    server.triton.load(backend.towers.image, other_weights)
    with pytest.raises(VisualSearchError, match="other weights"):
        await backend.start()
    assert server.stopped


async def test_a_damaged_model_file_is_found_before_the_server_starts(
    backend: ManagedTritonBackend, server: OwnServer, tmp_path: Path
) -> None:
    (tmp_path / "tiny" / "1" / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(VisualSearchError, match="model_invalid"):
        await backend.start()
    assert server.lives == 0


async def test_a_hung_server_is_started_again_and_followed(
    backend: ManagedTritonBackend, server: OwnServer, clock: Clock
) -> None:
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    first = server.url
    await supervised(server)
    server.triton.hung = True
    with pytest.raises(VisualSearchError):
        await backend.embed(backend.towers.image, pictures(1))
    async with asyncio.timeout(PATIENCE_S):
        while not server.reasons:
            clock.leap(1)
            await asyncio.sleep(0.02)
    assert "could not be called" in server.reasons[0]
    await until_ready(backend)
    assert server.url != first
    await backend.embed(backend.towers.image, pictures(9))
    await supervised(server)
    assert len(server.reasons) == 1


async def test_a_server_that_died_is_left_to_its_own_supervisor(
    backend: ManagedTritonBackend, server: OwnServer
) -> None:
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    server.die()
    await server.triton.stop()
    with pytest.raises(VisualSearchError):
        await backend.embed(backend.towers.image, pictures(1))
    await until(lambda: not backend.status()["ready"])
    assert backend.status()["error"]["message"] == "it was ended by SIGKILL"
    server.start()
    await until_ready(backend)
    await backend.embed(backend.towers.image, pictures(1))
    assert server.reasons == []


def one_of_two_instances_fails(message: str) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Every third call fails; those of the checks, which have three rows, never do."""
    numbers = itertools.count()

    def run(inputs: NDArray[Any]) -> NDArray[np.float32]:
        if len(inputs) == 1 and next(numbers) % 3 == 0:
            raise RuntimeError(message)
        return sound(inputs)

    return run


async def calls_until(backend: ManagedTritonBackend, condition: Callable[[], Any], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            with suppress(VisualSearchError):
                await backend.embed(backend.towers.image, pictures(1))
            await asyncio.sleep(0.05)


async def test_a_server_that_says_that_a_process_of_it_is_dead_is_started_again_at_once(
    backend: ManagedTritonBackend, server: OwnServer
) -> None:
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    server.triton.models["tiny"].function = one_of_two_instances_fails("Stub process 'tiny_1' is not healthy.")
    await calls_until(backend, lambda: server.reasons, PATIENCE_S)
    assert server.reasons[0].startswith("a process that runs the model is dead or hung")
    server.triton.load(backend.towers.image)
    await until_ready(backend)
    await supervised(server)
    assert len(server.reasons) == 1, "what was before the new start counts no more"


async def test_a_server_that_keeps_failing_some_calls_is_restarted_though_its_checks_pass(
    backend: ManagedTritonBackend, server: OwnServer, clock: Clock
) -> None:
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    server.triton.models["tiny"].function = one_of_two_instances_fails("out of memory")

    def is_restarted() -> bool:
        clock.leap(0.2)
        return bool(server.reasons)

    await calls_until(backend, is_restarted, PATIENCE_S)
    assert "while it answered others: it answered with the error UNKNOWN" in server.reasons[0]


@pytest.mark.slow
async def test_a_server_with_too_much_to_do_is_not_started_again(
    backend: ManagedTritonBackend, server: OwnServer
) -> None:
    await backend.start()
    await backend.embed(backend.towers.image, pictures(1))
    served = asyncio.Lock()

    async def in_line(request: Any, context: Any) -> Any:
        async with served:  # one call after the other, so slowly that most are late
            await asyncio.sleep(0.17)
            return await infer(request, context)

    infer = server.triton._infer
    server.triton._infer = in_line  # type: ignore[method-assign]  # a queue in front of the stand-in's work
    callers = [asyncio.create_task(calls_until(backend, lambda: False, 9)) for _ in range(4)]
    outcomes = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(outcome, TimeoutError) for outcome in outcomes)
    assert backend.status()["endpoints"][0]["failures"]["deadline"] > 8
    assert server.reasons == []


@pytest.mark.parametrize(
    ("health", "restarts"),
    [
        (Health(passed=True, up_s=100, failed_checks=0, failing_s=0, wrong=False), False),
        (Health(passed=True, up_s=100, failed_checks=2, failing_s=60, wrong=False), False),
        (Health(passed=True, up_s=100, failed_checks=50, failing_s=1, wrong=False), False),
        (Health(passed=True, up_s=100, failed_checks=3, failing_s=4, wrong=False), True),
        (Health(passed=True, up_s=100, failed_checks=9, failing_s=40, wrong=True), False),
        (Health(passed=False, up_s=80, failed_checks=99, failing_s=80, wrong=False), False),
        (Health(passed=False, up_s=91, failed_checks=99, failing_s=91, wrong=False), True),
        (Health(passed=False, up_s=91, failed_checks=99, failing_s=91, wrong=True), False),
        (Health(passed=True, up_s=9, failed_checks=0, failing_s=0, wrong=False, sick="a process is dead"), True),
        (Health(passed=True, up_s=9, failed_checks=0, failing_s=0, wrong=True, sick="a process is dead"), False),
    ],
)
def test_only_a_server_that_lives_and_can_not_be_called_is_started_again(health: Health, restarts: bool) -> None:
    assert bool(reason_to_restart(health, 90)) is restarts
