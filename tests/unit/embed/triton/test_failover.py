"""Where a call goes when a server fails, and how long that may take."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from executors.errors import VisualSearchError
from tests.support.triton_stand_in import (
    IMAGE,
    StandInTriton,
    pictures,
    sound,
)
from tests.unit.embed.triton.conftest import MakeBackend, all_verified

Servers = list[StandInTriton]
STUB_DEAD = "Stub process 'tiny_0' is not healthy."


class Stuck:
    """The model's work, of which one call of `every`, counting those with one row, never ends."""

    def __init__(self, server: StandInTriton, every: int) -> None:
        self._numbers = itertools.count()
        self._infer, self._every = server._infer, every
        server._infer = self.run  # type: ignore[method-assign]  # a fault that the stand-in has not

    async def run(self, request: Any, context: Any) -> Any:
        if request.inputs[0].shape[0] == 1 and next(self._numbers) % self._every == 0:
            await asyncio.sleep(60)
        return await self._infer(request, context)


@pytest.mark.parametrize("preferred", [0, 1, 2, 4])
async def test_replicas_prefer_different_servers(servers: Servers, make_backend: MakeBackend, preferred: int) -> None:
    backend = await make_backend(servers, preferred=preferred)
    await all_verified(backend)
    for _ in range(5):
        await backend.embed(IMAGE, pictures(1))
    assert [server.sizes.count(1) for server in servers] == [5 * (index == preferred % 3) for index in range(3)]


async def test_a_failed_call_goes_on_elsewhere_and_to_each_server_once(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    for server in servers[:2]:
        server.fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    for server in servers:
        server.sizes.clear()
    np.testing.assert_array_equal(await backend.embed(IMAGE, pictures(2, 5)), sound(pictures(2, 5)))
    assert [server.sizes.count(2) for server in servers] == [1, 1, 1]
    assert backend.status()["endpoints"][2]["retries"] == 1


async def test_with_every_server_failing_a_request_makes_one_call_to_each(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers)
    await all_verified(backend)
    for server in servers:
        server.fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
        server.sizes.clear()
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(2))
    assert [server.sizes.count(2) for server in servers] == [1, 1, 1]
    assert caught.value.code == "unavailable"
    assert [each["url"] for each in caught.value.details["endpoints"]] == [server.url for server in servers]
    assert all(each["error"]["code"] == "unreachable" for each in caught.value.details["endpoints"])
    orjson.dumps(caught.value.to_json())


async def test_a_server_that_keeps_failing_is_left_alone_until_its_probe_passes(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    servers[0].sizes.clear()
    for _ in range(20):
        await backend.embed(IMAGE, pictures(2))
    made = servers[0].sizes.count(2)
    assert 1 <= made <= 3, "three failures in a row open the circuit, those of checks included"
    report = backend.status()
    assert report["ready"]
    assert report["endpoints"][0]["breaker"] in ("open", "half_open")
    await asyncio.sleep(0.8)
    assert servers[0].sizes.count(2) == made, "no user's call is a probe"
    servers[0].fault = None
    async with asyncio.timeout(5):
        while backend.status()["endpoints"][0]["breaker"] != "closed":
            await asyncio.sleep(0.02)
    await backend.embed(IMAGE, pictures(2))
    assert servers[0].sizes.count(2) == made + 1


async def test_a_full_queue_is_no_fault_of_the_server(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    for _ in range(10):
        await backend.embed(IMAGE, pictures(2))
    report = backend.status()["endpoints"][0]
    assert (report["breaker"], report["failures"]) == ("closed", {"busy": 10})
    servers[1].fault = servers[0].fault
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(2))
    assert caught.value.code == "overloaded"


async def test_a_server_that_does_not_answer_costs_no_more_than_its_deadline(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.3)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    await backend.embed(IMAGE, pictures(2))
    assert 0.25 < loop.time() - started < 2
    assert backend.status()["endpoints"][0]["failures"] == {"deadline": 1}


async def test_all_of_it_ends_with_the_total_deadline(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers, timeout_s=0.4, total_timeout_s=0.6)
    await backend.embed(IMAGE, pictures(1))
    for server in servers:
        server.delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    outcomes = await asyncio.gather(*(backend.embed(IMAGE, pictures(40)) for _ in range(5)), return_exceptions=True)
    assert loop.time() - started < 1.5
    assert {outcome.code for outcome in outcomes if isinstance(outcome, VisualSearchError)} <= {
        "deadline_exceeded",
        "unavailable",
    }
    assert all(isinstance(outcome, VisualSearchError) for outcome in outcomes)


async def test_those_who_wait_go_on_elsewhere_as_soon_as_the_circuit_opens(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=3, timeout_s=0.5, total_timeout_s=10)
    await backend.embed(IMAGE, pictures(1))
    servers[0].delay_s = 60
    loop = asyncio.get_running_loop()
    started = loop.time()
    await asyncio.gather(*(backend.embed(IMAGE, pictures(2)) for _ in range(60)))
    assert loop.time() - started < 2.5, "three waited for the deadline, not sixty"


async def test_those_who_wait_for_a_hung_server_go_on_elsewhere_however_long_its_calls_may_take(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=1, timeout_s=30, total_timeout_s=30)
    await all_verified(backend)
    servers[0].hung = True
    stuck = asyncio.create_task(backend.embed(IMAGE, pictures(1)))
    await asyncio.sleep(0)
    await asyncio.wait_for(backend.embed(IMAGE, pictures(1)), 5)
    stuck.cancel()
    servers[0].hung = False


async def test_a_caller_that_gives_up_cancels_nothing_on_the_server_and_frees_its_slot(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], in_flight=2, timeout_s=5)
    await all_verified(backend)
    servers[0].delay_s = 0.4
    calls = [asyncio.create_task(backend.embed(IMAGE, pictures(20))) for _ in range(5)]
    await asyncio.sleep(0.1)
    assert servers[0].in_flight == 2
    loop = asyncio.get_running_loop()
    started = loop.time()
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert loop.time() - started < 0.2, "whoever gives up does not wait"
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["waiting"]) == (2, 2, 0)
    servers[0].delay_s = 0
    await backend.embed(IMAGE, pictures(5))
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["failures"]) == (0, 0, {})
    assert servers[0].cancellations == 0


async def test_a_call_that_took_too_long_is_not_cancelled_on_the_server(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.2)
    await all_verified(backend)
    servers[0].delay_s = 0.5
    await asyncio.gather(*(backend.embed(IMAGE, pictures(1)) for _ in range(8)))
    assert backend.status()["endpoints"][0]["abandoned"] >= 8
    async with asyncio.timeout(3):
        while servers[0].in_flight or backend.status()["endpoints"][0]["in_flight"]:
            await asyncio.sleep(0.01)
    assert servers[0].cancellations == 0


async def test_the_first_part_that_fails_ends_the_others(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1], in_flight=2)
    await backend.embed(IMAGE, pictures(1))
    servers[0].fault = (grpc.StatusCode.INTERNAL, "at /srv/models/1: no memory")
    servers[0].sizes.clear()
    with pytest.raises(VisualSearchError) as caught:
        await backend.embed(IMAGE, pictures(400))
    assert len(servers[0].sizes) <= 4
    assert "/srv" not in str(caught.value.to_json()), "the server's own words stay with the operator"
    assert backend.status()["endpoints"][0]["in_flight"] == 0


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
    assert first["sick"] == "a process of it that runs the model is dead or hung"
    assert (first["breaker"], first["failures"]) == ("closed", {"broken": 1})
    await servers[1].stop()
    async with asyncio.timeout(5):
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
    end = time.monotonic() + 10

    async def search() -> None:
        while time.monotonic() < end and not backend.status()["endpoints"][0]["sick"]:
            await backend.embed(IMAGE, pictures(1))
            await asyncio.sleep(0.2)

    await asyncio.gather(*(search() for _ in range(3)))
    assert "while" in backend.status()["endpoints"][0]["sick"]
    left = servers[0].sizes.count(1)
    for _ in range(10):
        await backend.embed(IMAGE, pictures(1))
    assert servers[0].sizes.count(1) == left


async def test_what_a_server_says_of_itself_counts_also_when_nobody_waits_for_it_any_longer(
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
    async with asyncio.timeout(3):
        while not backend.status()["endpoints"][0]["sick"]:
            await asyncio.sleep(0.02)


async def test_an_error_of_the_server_costs_no_call_that_runs_beside_it(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    await all_verified(backend)
    servers[0].delay_s = 0.3
    beside = asyncio.create_task(backend.embed(IMAGE, pictures(2)))
    await asyncio.sleep(0.1)
    servers[0].delay_s, infer = 0, servers[0]._infer

    async def fail(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INTERNAL, "no memory")

    servers[0]._infer = fail  # type: ignore[method-assign]  # for one call
    with pytest.raises(VisualSearchError, match="it answered with the error INTERNAL"):
        await backend.embed(IMAGE, pictures(1))
    servers[0]._infer = infer  # type: ignore[method-assign]  # as before
    np.testing.assert_array_equal(await beside, sound(pictures(2)))


async def test_a_call_whose_answer_is_in_doubt_says_what_is_known(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    await all_verified(backend)
    servers[0].delay_s = 0.3
    call = asyncio.create_task(backend.embed(IMAGE, pictures(2)))
    await asyncio.sleep(0.1)
    servers[0].models["tiny"].inferences = 0
    with pytest.raises(VisualSearchError, match="the model was loaded anew while it ran"):
        await call


async def test_a_server_that_is_left_alone_says_why_in_the_status(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    seen = []
    async with asyncio.timeout(5):
        while not seen:
            await backend.embed(IMAGE, pictures(2))
            model = backend.status()["endpoints"][0]["models"]["tiny"]
            seen = [model] * (model["state"] == "open")
    assert seen[0]["error"]["code"] == "unavailable"
    assert "can't be reached" in seen[0]["error"]["message"]


async def test_those_turned_away_before_they_were_sent_count_as_retries_too(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=3, timeout_s=0.3)
    await all_verified(backend)
    servers[0].delay_s = 60
    await asyncio.gather(*(backend.embed(IMAGE, pictures(2)) for _ in range(20)))
    assert backend.status()["endpoints"][1]["retries"] == 20
