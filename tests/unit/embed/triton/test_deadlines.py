"""Deadlines of calls, and the fate of calls that miss them."""

from __future__ import annotations

import asyncio

from executors.errors import VisualSearchError
from tests.support.triton.triton_stand_in import (
    IMAGE,
    StandInTriton,
    pictures,
)
from tests.unit.embed.triton.conftest import MakeBackend, all_verified, until

Servers = list[StandInTriton]


async def test_a_server_that_does_not_answer_costs_no_more_than_its_deadline(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.3)
    await all_verified(backend)
    servers[0].hold()
    await backend.embed(IMAGE, pictures(2))
    assert backend.status()["endpoints"][0]["failures"] == {"deadline": 1}


async def test_all_of_it_ends_with_the_total_deadline(servers: Servers, make_backend: MakeBackend) -> None:
    backend = await make_backend(servers, timeout_s=0.4, total_timeout_s=0.6)
    await all_verified(backend)
    for server in servers:
        server.hold()
    outcomes = await asyncio.gather(*(backend.embed(IMAGE, pictures(40)) for _ in range(5)), return_exceptions=True)
    assert {outcome.code for outcome in outcomes if isinstance(outcome, VisualSearchError)} <= {
        "deadline_exceeded",
        "unavailable",
    }
    assert all(isinstance(outcome, VisualSearchError) for outcome in outcomes)


async def test_callers_that_wait_go_elsewhere_as_soon_as_the_circuit_opens(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=3, timeout_s=0.5, total_timeout_s=10)
    await all_verified(backend)
    servers[0].hold()
    await asyncio.gather(*(backend.embed(IMAGE, pictures(2)) for _ in range(60)))
    assert servers[0].sizes.count(2) == 3, "three waited for the deadline, not sixty"


async def test_calls_that_wait_for_a_hung_server_go_elsewhere_however_long_its_timeout(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], in_flight=1, timeout_s=30, total_timeout_s=30)
    await all_verified(backend)
    servers[0].hung = True
    stuck = asyncio.create_task(backend.embed(IMAGE, pictures(1)))
    await asyncio.sleep(0)
    await backend.embed(IMAGE, pictures(1))
    assert not stuck.done()
    stuck.cancel()
    servers[0].hung = False


async def test_a_caller_that_gives_up_cancels_nothing_on_the_server_and_frees_its_slot(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:1], in_flight=2, timeout_s=5)
    await all_verified(backend)
    servers[0].hold()
    calls = [asyncio.create_task(backend.embed(IMAGE, pictures(20))) for _ in range(5)]
    await until(lambda: servers[0].in_flight == 2)
    for call in calls:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["waiting"]) == (2, 2, 0), (
        "a caller that gives up waits for none"
    )
    servers[0].let_go()
    await backend.embed(IMAGE, pictures(5))
    report = backend.status()["endpoints"][0]
    assert (report["in_flight"], report["abandoned"], report["failures"]) == (0, 0, {})
    assert servers[0].cancellations == 0


async def test_a_call_that_took_too_long_is_not_cancelled_on_the_server(
    servers: Servers, make_backend: MakeBackend
) -> None:
    backend = await make_backend(servers[:2], timeout_s=0.2)
    await all_verified(backend)
    servers[0].hold()
    await asyncio.gather(*(backend.embed(IMAGE, pictures(1)) for _ in range(8)))
    assert backend.status()["endpoints"][0]["abandoned"] >= 8
    servers[0].let_go()
    await until(lambda: not (servers[0].in_flight or backend.status()["endpoints"][0]["in_flight"]))
    assert servers[0].cancellations == 0
