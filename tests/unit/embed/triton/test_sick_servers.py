"""A server that answers some calls and fails others is not called while there is another."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import grpc
import numpy as np

from tests.support.triton.triton_stand_in import (
    IMAGE,
    StandInTriton,
    pictures,
    sound,
)
from tests.unit.embed.triton.conftest import PATIENCE_S, MakeBackend, all_verified, until

Servers = list[StandInTriton]
STUB_DEAD = "Stub process 'tiny_0' is not healthy."


class Stuck:
    """The model's work; one call of `every`, counting those with one row, never ends."""

    def __init__(self, server: StandInTriton, every: int) -> None:
        self._numbers = itertools.count()
        self._infer, self._every = server._infer, every
        server._infer = self.run  # type: ignore[method-assign]  # a fault that the stand-in has not

    async def run(self, request: Any, context: Any) -> Any:
        if request.inputs[0].shape[0] == 1 and next(self._numbers) % self._every == 0:
            await asyncio.sleep(60)
        return await self._infer(request, context)


async def test_a_server_with_a_dead_process_is_left_alone_while_there_is_another(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    sound_function = servers[0].models["tiny"].function
    fails = iter([True])

    def first_fails(inputs: Any) -> Any:
        if len(inputs) == 2 and next(fails, False):
            raise RuntimeError(STUB_DEAD)
        return sound_function(inputs)

    servers[0].models["tiny"].function = first_fails
    for _ in range(20):
        await backend.embed(IMAGE, pictures(2))
    assert servers[0].sizes.count(2) == 1, "what it said is enough, although its checks pass"
    first = backend.status()["endpoints"][0]
    assert first["sick"] == "a process that runs the model is dead or hung"
    assert (first["breaker"], first["failures"]) == ("closed", {"broken": 1})
    await servers[1].stop()
    async with asyncio.timeout(30):
        while servers[0].sizes.count(2) == 1:
            await backend.embed(IMAGE, pictures(2))
    assert backend.status()["ready"], "better than none"


async def test_a_sick_server_is_used_again_after_it_was_started_anew(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.INTERNAL, STUB_DEAD)
    await backend.embed(IMAGE, pictures(2))
    assert backend.status()["endpoints"][0]["sick"]
    await servers[0].stop()
    servers[0].fault = None
    await servers[0].again()
    async with asyncio.timeout(10):
        while backend.status()["endpoints"][0]["sick"] or backend.status()["endpoints"][0]["models"]["tiny"]["error"]:
            await asyncio.sleep(0.02)
    await all_verified(backend)
    servers[0].sizes.clear()
    await backend.embed(IMAGE, pictures(2))
    assert servers[0].sizes.count(2) == 1


async def test_calls_that_others_overtake_tell_a_stuck_server(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.4)
    await all_verified(backend)
    Stuck(servers[0], every=8)

    async def search() -> None:
        while not backend.status()["endpoints"][0]["sick"]:
            await backend.embed(IMAGE, pictures(1))
            await asyncio.sleep(0.2)

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(search() for _ in range(3)))
    assert "while" in backend.status()["endpoints"][0]["sick"]
    left = servers[0].sizes.count(1)
    for _ in range(10):
        await backend.embed(IMAGE, pictures(1))
    assert servers[0].sizes.count(1) == left


async def test_a_servers_own_report_counts_although_its_caller_has_given_up(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.2)
    await all_verified(backend)

    def two_fail(inputs: Any) -> Any:
        if len(inputs) == 2:
            raise RuntimeError(STUB_DEAD)
        return sound(inputs)

    servers[0].delay_s, servers[0].models["tiny"].function = 0.4, two_fail
    await backend.embed(IMAGE, pictures(2))
    assert backend.status()["endpoints"][0]["failures"] == {"deadline": 1}
    async with asyncio.timeout(30):
        while not backend.status()["endpoints"][0]["sick"]:
            await asyncio.sleep(0.02)


async def test_answers_do_not_count_once_the_server_has_given_up_the_process_behind_them(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    sound_function = servers[0].models["tiny"].function

    def mixed_up(inputs: Any) -> Any:
        if len(inputs) == 1:
            raise RuntimeError(STUB_DEAD)
        return sound_function(inputs)[::-1] if len(inputs) == 2 else sound_function(inputs)

    servers[0].models["tiny"].function = mixed_up
    servers[0].hold()
    beside = asyncio.create_task(backend.embed(IMAGE, pictures(2)))
    await until(lambda: servers[0].sizes.count(2))
    infer = servers[0]._infer

    async def at_once(request: Any, context: Any) -> Any:
        if request.inputs[0].shape[0] == 1:
            raise RuntimeError(STUB_DEAD)
        return await infer(request, context)

    servers[0]._infer = at_once  # type: ignore[method-assign]  # the failure comes while the other call waits
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(1)), sound(pictures(1)))
    servers[0].let_go()
    np.testing.assert_array_equal(await beside, sound(pictures(2)))
    assert [server.sizes.count(2) for server in servers[:2]] == [1, 1]
