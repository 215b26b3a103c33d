"""The backend with healthy servers that speak Triton's protocol: answers, limits, event loops, status."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from executors.embed.triton.backend import TritonBackend
from executors.errors import VisualSearchError
from executors.models.spec import Towers
from tests.support.triton.triton_stand_in import (
    BOTH,
    IMAGE,
    TEXT,
    StandInTriton,
    config_of,
    pictures,
    sound,
    tokens,
    write_references,
)
from tests.unit.embed.triton.conftest import RARELY, MakeBackend, all_verified, until

Servers = list[StandInTriton]


def monitors() -> list[str]:
    """The tasks of this event loop that watch a server."""
    names = [task.get_name() for task in asyncio.all_tasks()]
    return [name for name in names if name.startswith(("monitor of", "connection to"))]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 33])
async def test_any_number_is_answered_in_order(servers: Servers, make_backend: MakeBackend, count: int) -> None:
    backend = await make_backend(servers[:1])
    vectors = await backend.embed(IMAGE, pictures(count))
    np.testing.assert_array_equal(vectors, sound(pictures(count)))
    assert vectors.dtype == np.float32


async def test_parts_fit_the_smaller_of_all_limits(servers: Servers, make_backend: MakeBackend) -> None:
    servers[0].load(IMAGE, max_batch_size=3)
    backend = await make_backend(servers[:1], cpu_batch=5)
    await backend.embed(IMAGE, pictures(1))
    servers[0].sizes.clear()
    await backend.embed(IMAGE, pictures(10))
    assert sorted(servers[0].sizes) == [1, 3, 3, 3]


async def test_a_gpu_gets_as_much_as_the_model_takes(servers: Servers, make_backend: MakeBackend) -> None:
    config = config_of(IMAGE)
    config.instance_group[0].kind = config.instance_group[0].KIND_GPU
    servers[0].models["tiny"].config = config
    backend = await make_backend(servers[:1])
    await backend.embed(IMAGE, pictures(1))
    servers[0].sizes.clear()
    await backend.embed(IMAGE, pictures(32))
    assert servers[0].sizes == [16, 16]
    assert backend.status()["endpoints"][0]["models"]["tiny"]["device"] == "gpu"


async def test_both_towers_are_served(make_backend: MakeBackend) -> None:
    server = await StandInTriton(BOTH).start()
    backend = await make_backend([server], BOTH)
    np.testing.assert_array_equal(await backend.embed(TEXT, tokens(11)), sound(tokens(11)))
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(2)), sound(pictures(2)))
    await server.stop()


async def test_one_connection_a_server_however_many_calls(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    servers[0].connections.clear()
    for _ in range(5):
        await asyncio.gather(*(backend.embed(IMAGE, pictures(9)) for _ in range(20)))
    assert len(servers[0].connections) == 1


async def test_a_wrong_batch_is_refused_before_it_travels(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    with pytest.raises(VisualSearchError, match="invalid_tensor"):
        await backend.embed(IMAGE, pictures(2).astype(np.float32))


async def test_no_more_calls_in_flight_than_allowed(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=3, timeout_s=2)
    servers[0].delay_s = 0.01
    await asyncio.gather(*(backend.embed(IMAGE, pictures(9)) for _ in range(10)))
    assert servers[0].most_in_flight == 3


async def test_a_search_does_not_wait_for_all_of_a_large_write(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=2)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 0.01
    write = asyncio.create_task(backend.embed(IMAGE, pictures(200)))
    await until(lambda: servers[0].in_flight)
    await backend.embed(IMAGE, pictures(1))
    assert not write.done()
    await write


async def test_rows_that_are_not_finite_are_passed_on_with_their_neighbours(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    batch = pictures(4)
    batch[2] = 0
    vectors = await backend.embed(IMAGE, batch)
    assert [bool(np.isfinite(row).all()) for row in vectors] == [True, True, False, True]


async def test_servers_may_come_up_after_the_backend(make_backend: MakeBackend) -> None:
    server = await StandInTriton().start()
    await server.stop()
    backend = await make_backend([server])
    report = backend.status()
    assert not report["ready"]
    assert report["error"]["code"] == "unavailable"
    with pytest.raises(VisualSearchError, match="unavailable"):  # one that had waited would be `deadline_exceeded`
        await backend.embed(IMAGE, pictures(1))
    await server.again()
    await until(lambda: backend.status()["ready"])
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(9)), sound(pictures(9)))
    await server.stop()


async def test_it_starts_on_one_event_loop_and_serves_on_another(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], start=False)
    await asyncio.to_thread(asyncio.run, backend.start())
    assert backend.status()["ready"]
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(9)), sound(pictures(9)))
    thread = threading.Thread(target=asyncio.run, args=[backend.close()])
    thread.start()
    thread.join()  # blocks this event loop, as Jina does when it ends
    with pytest.raises(VisualSearchError, match="unavailable"):
        await backend.embed(IMAGE, pictures(1))
    await until(lambda: not monitors())


async def test_closing_leaves_no_task_and_wakes_the_callers(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers, in_flight=2, timeout_s=30, total_timeout_s=30)
    await all_verified(backend)
    for server in servers:
        server.hold()
    calls = [asyncio.create_task(backend.embed(IMAGE, pictures(9))) for _ in range(5)]
    await until(lambda: servers[0].in_flight == 2)
    await backend.close()
    await backend.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, VisualSearchError)} == {"unavailable"}
    assert not [outcome for outcome in outcomes if not isinstance(outcome, VisualSearchError)]
    assert monitors() == []


async def test_closing_wakes_a_caller_that_waits_for_a_server_to_be_verified(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], total_timeout_s=30, pace=replace(RARELY, verify_within=30))
    servers[0].hung = True
    call = asyncio.create_task(backend.embed(IMAGE, pictures(1)))
    await until(lambda: servers[0].stalled)
    await backend.close()
    with pytest.raises(VisualSearchError, match="unavailable"):
        await call
    servers[0].hung = False


async def test_the_status_is_json(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    await backend.embed(IMAGE, pictures(5))
    report = orjson.loads(orjson.dumps(backend.status()))
    first = report["endpoints"][0]
    assert (report["backend"], report["ready"]) == ("triton", True)
    assert (first["url"], first["server"], first["breaker"]) == (servers[0].url, "triton 2.0", "closed")
    assert (first["calls"], first["inputs"], first["inputs_per_call"]) == (2, 5, 2.5)
    assert first["models"]["tiny"]["rows_per_call"] == 4


async def test_a_status_from_outside_of_an_event_loop_is_an_answer(tmp_path: Path) -> None:
    write_references(tmp_path, Towers(IMAGE))
    backend = TritonBackend(
        tmp_path, Towers(IMAGE), ["127.0.0.1:9"], preferred=0, timeout_s=1, total_timeout_s=1, in_flight=1, cpu_batch=1
    )
    report = await asyncio.to_thread(backend.status)
    assert not report["ready"]
    assert report["error"]["code"] == "unavailable"
