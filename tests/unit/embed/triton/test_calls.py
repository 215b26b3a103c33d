"""A call without a waiting caller is left to end by itself, and so are those of the checks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from executors.embed.triton.calls import answer_within
from executors.embed.triton.client import CallError, FailureKind, connect
from executors.embed.triton.handshake import recheck, verify
from tests.support.triton.triton_stand_in import IMAGE, StandInTriton


@pytest.fixture
async def server() -> AsyncIterator[StandInTriton]:
    started = await StandInTriton().start()
    yield started
    await started.stop()


@pytest.fixture
async def client(server: StandInTriton) -> AsyncIterator[Any]:
    made = connect(server.url)
    yield made
    await made.close()


async def check(client: Any, seconds: float) -> None:
    await verify(client, IMAGE, None, cpu_batch=4, seconds=seconds, answer_s=seconds)


async def test_a_check_whose_inference_is_late_does_not_cancel_it(server: StandInTriton, client: Any) -> None:
    await check(client, 5)
    server.delay_s = 0.5
    with pytest.raises(CallError, match=r"no answer within 0.*s") as caught:
        await check(client, 0.2)
    assert caught.value.kind is FailureKind.DEADLINE
    assert server.in_flight == 1
    async with asyncio.timeout(30):
        while server.in_flight:
            await asyncio.sleep(0.01)
    assert server.cancellations == 0


async def test_a_question_has_a_later_deadline_on_the_server_than_at_its_caller(
    server: StandInTriton, client: Any
) -> None:
    await check(client, 5)
    deadlines: list[float] = []

    async def never(context: Any) -> None:
        deadlines.append(context.time_remaining())
        await asyncio.sleep(60)

    server._checked = never  # type: ignore[method-assign]  # a fault that the stand-in has not
    for question in (check(client, 0.1), recheck(client, IMAGE, 0, 0.1)):
        with pytest.raises(CallError) as caught:
            await question
        assert caught.value.kind is FailureKind.DEADLINE
    assert len(deadlines) == 2
    assert min(deadlines) > 10, "seconds"


async def test_a_call_that_fails_late_leaves_no_unread_exception(caplog: pytest.LogCaptureFixture) -> None:
    go_on, ended = asyncio.Event(), asyncio.Event()

    async def fail(deadline: float) -> None:
        await go_on.wait()
        ended.set()
        raise CallError(FailureKind.UNREACHABLE, "the connection was closed")

    with pytest.raises(CallError, match=r"no answer within 0\.01 s"):
        await answer_within(0.01, fail)
    go_on.set()
    await ended.wait()
    await asyncio.sleep(0)
    gc.collect()  # a failure that was not looked at is told when its task goes
    assert caplog.records == []


async def test_a_check_that_is_given_up_does_not_cancel_its_call(server: StandInTriton, client: Any) -> None:
    await check(client, 5)
    server.delay_s = 0.3
    giving_up = asyncio.create_task(check(client, 5))
    async with asyncio.timeout(30):
        while not server.in_flight:
            await asyncio.sleep(0.01)
    giving_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving_up
    async with asyncio.timeout(30):
        while server.in_flight:
            await asyncio.sleep(0.01)
    assert server.cancellations == 0
