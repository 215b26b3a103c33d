"""Calls to real Triton servers: late, given up, counted, batched, and ten thousand of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path

import numpy as np
import pytest

from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.models.models import TINY
from tests.support.triton.triton_faults import Load, MakeBackend, MakeServer, all_verified, pictures, truth, until
from tests.support.triton.triton_server import write_slow_entry

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


async def test_a_server_slower_than_the_deadline(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path, local: Path
) -> None:
    flag = tmp_path / "slow"
    model_id = towers.image.model_id
    slow = await make_server(lambda folder: write_slow_entry(folder, TINY, model_id, flag, 3.0)).up()
    sound = await make_server().up()
    backend = await make_backend([slow, sound])
    await all_verified(backend)
    vectors = await backend.embed(backend.towers.image, pictures(3))
    np.testing.assert_allclose(vectors, truth(local, pictures(3)), rtol=1e-4)
    flag.touch()
    load = Load(backend, local)
    await until(lambda: backend.status()["endpoints"][0]["breaker"] != "closed", 15)
    before = load.answers
    await until(lambda: load.answers > before + 50, 10)
    flag.unlink()
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready", 40)
    await load.end()
    assert [str(error) for error in load.errors] == []
    assert backend.status()["endpoints"][0]["failures"]["deadline"] >= 3


async def test_callers_that_give_up_free_their_slots(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path
) -> None:
    flag = tmp_path / "slow"
    model_id = towers.image.model_id
    server = await make_server(lambda folder: write_slow_entry(folder, TINY, model_id, flag, 0.1)).up()
    backend = await make_backend([server], timeout_s=10.0, total_timeout_s=20.0)
    await all_verified(backend)
    flag.touch()
    calls = [asyncio.create_task(backend.embed(backend.towers.image, pictures(16))) for _ in range(30)]
    await until(lambda: backend.status()["endpoints"][0]["in_flight"] == 8)
    before = server.requests(TINY)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    report = backend.status()["endpoints"][0]
    assert (report["waiting"], report["breaker"]) == (0, "closed")
    await until(lambda: backend.status()["endpoints"][0]["in_flight"] == 0, 3)
    assert server.requests(TINY) - before <= 8, "of what was given up, only what had been sent was computed"
    await backend.embed(backend.towers.image, pictures(4))


async def test_a_storm_of_callers_that_give_up_does_not_crash_the_server(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    """Triton 2.51 crashes within some thousand calls that are cancelled as they complete."""
    server = await make_server().up()
    backend = await make_backend([server], in_flight=16)
    await all_verified(backend)
    chance = np.random.default_rng(0)

    async def give_up() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(chance.uniform(0, 0.01)):
                await backend.embed(backend.towers.image, pictures(4))

    for _ in range(500):
        await asyncio.gather(*(give_up() for _ in range(32)))
    assert server.alive()
    report = backend.status()
    assert (report["ready"], report["endpoints"][0]["failures"]) == (True, {})
    assert report["endpoints"][0]["cancelled"] > 3_000


async def test_a_request_makes_one_call_to_each_server_and_no_more(
    make_server: MakeServer, make_backend: MakeBackend, towers: Towers, tmp_path: Path
) -> None:
    def failing(folder: Path) -> None:
        """Fails for bright pictures, and for those alone."""
        write_slow_entry(folder, TINY, towers.image.model_id, tmp_path / "never", 0)
        script = folder / TINY / "1" / "model.py"
        raising = '            if colour.min() > 250: raise RuntimeError("by design")\n'
        script.write_text(script.read_text().replace("            vectors =", f"{raising}            vectors ="))

    servers = [await make_server(failing).up() for _ in range(3)]
    backend = await make_backend(servers)
    await all_verified(backend)
    bright = np.full((2, 8, 8, 3), 255, np.uint8)
    before = [server.metrics(TINY)["nv_inference_request_failure"] for server in servers]
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(backend.towers.image, bright)
    await backend.embed(backend.towers.image, pictures(2))  # what was sent before has ended
    after = [server.metrics(TINY)["nv_inference_request_failure"] for server in servers]
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


async def test_single_requests_run_as_batches(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = await make_server().up()
    backend = await make_backend([server], in_flight=32)
    await all_verified(backend)
    before = server.metrics(TINY)
    await asyncio.gather(*(backend.embed(backend.towers.image, pictures(1)) for _ in range(320)))
    done = server.metrics(TINY) - before
    assert done["nv_inference_count"] >= 320
    assert done["nv_inference_exec_count"] < done["nv_inference_count"] / 2


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


async def test_ten_thousand_requests_leave_memory_flat(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    inputs = [pictures(size, size) for size in (1, 2, 3, 4, 9)]

    async def run(requests: int) -> None:
        for start in range(0, requests, 20):
            await asyncio.gather(
                *(backend.embed(backend.towers.image, inputs[(start + index) % 5]) for index in range(20))
            )

    await run(1_000)
    before, count = resident_bytes(), 10_000
    await run(count)
    grown = resident_bytes() - before
    assert grown < 4_000_000 + count * 100, f"{grown / 1e6:.1f} MB for {count} requests"
    assert backend.status()["endpoints"][0]["failures"] == {}
