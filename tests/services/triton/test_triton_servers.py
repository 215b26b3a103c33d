"""Real Triton servers that come and go, hang and die, and what callers of the embedding backend notice of it."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from executors.embed.triton.backend import TritonBackend
from tests.support.models.models import TINY, tiny_config, tiny_model, write_entry
from tests.support.triton.triton_faults import Load, MakeBackend, MakeServer, all_verified, pictures, refused, until
from tests.support.triton.triton_server import stubs_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(180)]


async def test_a_server_that_is_not_there_at_the_start(make_server: MakeServer, make_backend: MakeBackend) -> None:
    server = make_server()
    backend = await make_backend([server])
    assert backend.status()["error"]["code"] == "unavailable"
    error = await refused(backend)
    assert (error.code, error.details["endpoints"][0]["url"]) == ("unavailable", server.url)
    await server.up()
    await until(lambda: backend.status()["ready"])
    vectors = await backend.embed(backend.towers.image, pictures(9))
    assert vectors.shape == (9, 3)


def retried(backend: TritonBackend, before: int) -> bool:
    return bool(backend.status()["endpoints"][1]["retries"] > before)


async def test_a_server_killed_under_load_costs_no_request_where_there_is_another(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    for _ in range(2):
        await load.further(100)
        before = backend.status()["endpoints"][1]["retries"]
        first.kill()
        await until(partial(retried, backend, before))  # those in flight go on there
        await first.up()
        await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready")
    second.kill()
    await load.further(100)
    await load.end()
    assert [str(error) for error in load.errors] == []


async def test_a_server_killed_alone_means_coded_errors_and_then_recovery(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    await load.further(20)
    server.kill()
    await until(lambda: len(load.errors) > 20)
    assert {error.code for error in load.errors} == {"unavailable"}
    assert not backend.status()["ready"]
    await server.up()
    await until(lambda: backend.status()["ready"])
    await load.further(20)
    await load.end()


async def test_a_frozen_server_is_left_alone_and_used_again(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    await load.further(20)
    first.freeze()
    try:
        await until(lambda: backend.status()["endpoints"][0]["breaker"] != "closed", 5)
        await load.further(100)
    finally:
        first.thaw()
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready")
    await load.end()
    assert [str(error) for error in load.errors] == []


async def test_a_model_process_that_pauses_costs_no_request_and_mixes_up_no_answers(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second], timeout_s=3.0)
    await all_verified(backend)
    load = Load(backend, local)
    await load.further(20)
    first.freeze_stubs()
    await asyncio.sleep(1.5)  # Triton gives it up after one
    first.thaw_stubs()
    await load.further(100)
    assert backend.status()["endpoints"][0]["failures"].keys() & {"broken", "unreachable"}
    first.kill()
    await first.up()
    calls = backend.status()["endpoints"][0]["calls"]
    await until(lambda: backend.status()["endpoints"][0]["calls"] > calls + 100, 15)
    await load.end()
    assert [str(error) for error in load.errors] == []


async def test_a_frozen_server_alone_means_errors_within_the_deadline(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    server = await make_server().up()
    backend = await make_backend([server])
    await all_verified(backend)
    load = Load(backend, local)
    server.freeze()
    try:
        await until(lambda: len(load.errors) > 20, 10)
        await until(lambda: backend.status()["endpoints"][0]["breaker"] != "closed")
        assert (await refused(backend)).code == "unavailable", "one that had waited would be `deadline_exceeded`"
    finally:
        server.thaw()
    await until(lambda: backend.status()["ready"])
    await load.end()
    assert {error.code for error in load.errors} <= {"unavailable", "deadline_exceeded"}


async def test_a_killed_model_process_costs_no_request_where_there_is_another_server(
    make_server: MakeServer, make_backend: MakeBackend, local: Path
) -> None:
    first, second = await make_server().up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    await load.further(20)
    assert first.kill_stubs() >= 1
    # Triton does not start it again, and goes on to call the model ready: running it is what tells.
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "refused", 15)
    await load.further(50)
    await asyncio.to_thread(first.unload, TINY)
    await asyncio.to_thread(first.load, TINY)
    await until(lambda: backend.status()["endpoints"][0]["models"][TINY]["state"] == "ready", 15)
    await load.end()
    assert [str(error) for error in load.errors] == []


def two_instances(folder: Path) -> None:
    write_entry(folder, tiny_model(), tiny_config() + "instance_group { count: 2 kind: KIND_CPU }\n")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_server_with_a_dead_instance_is_left_alone_until_it_is_restarted(
    make_server: MakeServer, make_backend: MakeBackend, local: Path, how: signal.Signals
) -> None:
    first, second = await make_server(two_instances).up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    # Before the calls: one that is stopped while it holds the lock of the memory that it shares with Triton keeps its
    # instance waiting for good (in SaveRequestsToSharedMemory); no other call meets it then, and the server is not sick.
    os.kill(stubs_of(first.pid)[0], how)
    load = Load(backend, local)
    await until(lambda: backend.status()["endpoints"][0]["sick"], 15)
    await asyncio.sleep(2)
    calls = backend.status()["endpoints"][0]["calls"]
    await load.further(100)
    assert backend.status()["endpoints"][0]["calls"] <= calls + 6, "those that were in flight at most"
    first.kill()
    await first.up()
    await until(lambda: backend.status()["endpoints"][0]["calls"] > calls + 100, 15)
    assert backend.status()["endpoints"][0]["sick"] is None
    await load.end()
    assert [str(error) for error in load.errors] == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_an_instance_that_dies_while_it_works_costs_no_request(
    make_server: MakeServer, make_backend: MakeBackend, local: Path, how: signal.Signals
) -> None:
    first, second = await make_server(two_instances).up(), await make_server().up()
    backend = await make_backend([first, second])
    await all_verified(backend)
    load = Load(backend, local)
    await load.further(100)
    os.kill(stubs_of(first.pid)[0], how)
    await asyncio.sleep(4)  # several deadlines of a call
    await load.further(100)
    await load.end()
    assert [str(error) for error in load.errors] == []
