"""Failover: the next server for a call if one fails."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import numpy as np
import orjson
import pytest

from executors.errors import VisualSearchError
from tests.support.triton.triton_stand_in import (
    IMAGE,
    StandInTriton,
    pictures,
    sound,
)
from tests.unit.embed.triton.conftest import MakeBackend, all_verified, until

Servers = list[StandInTriton]


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
    probes = len(servers[0].sizes)
    await until(lambda: len(servers[0].sizes) >= probes + 1)  # one that fails
    for _ in range(5):
        await backend.embed(IMAGE, pictures(2))
    assert servers[0].sizes.count(2) == made, "no user's call is a probe"
    servers[0].fault = None
    async with asyncio.timeout(30):
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


async def test_an_error_of_the_server_costs_no_call_that_runs_beside_it(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1])
    await all_verified(backend)
    servers[0].hold()
    beside = asyncio.create_task(backend.embed(IMAGE, pictures(2)))
    await until(lambda: servers[0].sizes.count(2))
    infer = servers[0]._infer

    async def fail(request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.INTERNAL, "no memory")

    servers[0]._infer = fail  # type: ignore[method-assign]  # for one call
    with pytest.raises(VisualSearchError, match="it answered with the error INTERNAL"):
        await backend.embed(IMAGE, pictures(1))
    servers[0]._infer = infer  # type: ignore[method-assign]  # as before
    servers[0].let_go()
    np.testing.assert_array_equal(await beside, sound(pictures(2)))


async def test_a_call_whose_answer_is_in_doubt_says_what_is_known(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:1])
    await all_verified(backend)
    servers[0].hold()
    call = asyncio.create_task(backend.embed(IMAGE, pictures(2)))
    await until(lambda: servers[0].sizes.count(2))
    servers[0].models["tiny"].inferences = 0
    await until(lambda: backend.status()["endpoints"][0]["models"]["tiny"]["state"] == "checking")
    servers[0].let_go()
    with pytest.raises(VisualSearchError, match="the model was reloaded while it ran"):
        await call


async def test_a_server_that_is_left_alone_says_why_in_the_status(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers[:2])
    await all_verified(backend)
    servers[0].fault = (grpc.StatusCode.UNAVAILABLE, "shutting down")
    seen: list[Any] = []
    async with asyncio.timeout(30):
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
