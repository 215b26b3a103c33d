"""A machine that stands still for a moment, and the managed Triton on it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from executors.devices import CPU
from executors.embed.triton.managed import ManagedTritonBackend
from executors.models.spec import Towers
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
from tests.support.models.models import TINY
from tests.support.triton.managed_triton import group_of
from tests.support.triton.triton_faults import TIMEOUT_S, TOTAL_S, Load, until
from tests.support.triton.triton_server import stubs_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


@pytest.fixture
async def managed(
    triton_installation: Installation, local: Path, towers: Towers, tmp_path: Path
) -> AsyncIterator[tuple[ManagedTritonBackend, TritonServer]]:
    server = TritonServer(
        triton_installation,
        models_dir=local,
        models=[TINY],
        device=CPU,
        threads=1,
        logs_dir=tmp_path / "logs",
        name="embed-0",
    )
    backend = ManagedTritonBackend(
        local, towers, server, timeout_s=TIMEOUT_S, total_timeout_s=TOTAL_S, in_flight=8, cpu_batch=4
    )
    await backend.start()
    yield backend, server
    await backend.close()


@pytest.mark.parametrize("frozen", [group_of, stubs_of], ids=["all of it", "the models alone"])
async def test_a_server_that_stood_still_serves_again_by_itself_and_never_mixes_up_answers(
    managed: tuple[ManagedTritonBackend, TritonServer], local: Path, frozen: Callable[[int], list[int]]
) -> None:
    """It goes on, or Triton crashes over it (see `RawTriton.freeze`) and is started again."""
    backend, server = managed
    load = Load(backend, local)
    for _ in range(2):
        await until(lambda: server.status()["pid"] and backend.status()["ready"])
        await load.further(100)
        standing = frozen(server.status()["pid"])
        for pid in standing:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5)
        for pid in standing:
            with suppress(ProcessLookupError):  # its supervisor was quicker
                os.kill(pid, signal.SIGCONT)
    before = load.answers
    await until(lambda: load.answers > before + 500)
    await load.end()
    assert {error.code for error in load.errors} <= {"unavailable", "deadline_exceeded"}
