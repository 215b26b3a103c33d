from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from executors.embed.triton.backend import TritonBackend
from executors.embed.triton.monitor import MonitorPace
from executors.models.spec import Towers
from tests.support.triton.triton_stand_in import ONLY_IMAGE, StandInTriton, write_references

FAST = MonitorPace(
    check_every=0.05, retry_after=0.03, verify_every=60.0, verify_within=1.0, check_within=0.5, supervise_every=0.02
)
# Checks of a healthy server are so rare that only calls and connections can reveal a change.
RARELY = replace(FAST, check_every=60.0)


# How long a test waits for what must come; it asserts nothing by it.
PATIENCE_S = 30.0


class Clock:
    """Seconds that go by as always, and leap when a test says so."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def leap(self, seconds: float) -> None:
        self._ahead += seconds


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.fixture
async def servers() -> AsyncIterator[list[StandInTriton]]:
    """Three healthy servers."""
    started = [await StandInTriton().start() for _ in range(3)]
    yield started
    for server in started:
        await server.stop()


MakeBackend = Callable[..., Awaitable[TritonBackend]]


@pytest.fixture
async def make_backend(tmp_path: Path) -> AsyncIterator[MakeBackend]:
    """Makes and starts backends, and closes them at the end."""
    made: list[TritonBackend] = []

    async def make(
        servers: list[StandInTriton],
        towers: Towers = ONLY_IMAGE,
        *,
        preferred: int = 0,
        timeout_s: float = 0.5,
        total_timeout_s: float = 5.0,
        in_flight: int = 8,
        cpu_batch: int = 4,
        pace: MonitorPace = FAST,
        clock: Callable[[], float] = time.monotonic,
        start: bool = True,
    ) -> TritonBackend:
        write_references(tmp_path, towers)
        made.append(
            TritonBackend(
                tmp_path,
                towers,
                [server.url for server in servers],
                preferred=preferred,
                timeout_s=timeout_s,
                total_timeout_s=total_timeout_s,
                in_flight=in_flight,
                cpu_batch=cpu_batch,
                pace=pace,
                clock=clock,
            )
        )
        if start:
            await made[-1].start()
        return made[-1]

    yield make
    for backend in made:
        await backend.close()


async def all_verified(backend: TritonBackend) -> None:
    """Wait until every server can be called."""
    await until(lambda: {each["models"]["tiny"]["state"] for each in backend.status()["endpoints"]} == {"ready"})
