from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from executors.flow.outgoing import ended_with_caller, note_call
from executors.gateway.disconnection import disconnected, unless_gone
from executors.gateway.operations.completion import completed
from tests.support.event_loop import others_have_run


class Call:
    def __init__(self) -> None:
        self.cancelled = self.ended = False

    def cancel(self) -> bool:
        self.cancelled = True
        return True

    def done(self) -> bool:
        return self.ended


async def test_calls_of_a_request_that_is_cancelled_are_ended_and_no_more_are_made() -> None:
    running, ended, late = Call(), Call(), Call()
    ended.ended = True
    go_on = asyncio.Event()
    background: list[asyncio.Task[None]] = []

    async def streamer() -> None:
        note_call(running)
        note_call(ended)
        await go_on.wait()
        note_call(late)

    async def request() -> None:
        with ended_with_caller():
            background.append(asyncio.create_task(streamer()))
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await others_have_run()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (running.cancelled, ended.cancelled) == (True, False)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await background[0]
    assert late.cancelled


async def test_calls_outside_of_a_request_are_left_alone() -> None:
    call = Call()
    note_call(call)
    assert not call.cancelled


async def test_what_has_to_end_in_order_ends_after_its_caller_left() -> None:
    steps = []
    go_on = asyncio.Event()

    async def work() -> None:
        steps.append("stored")
        await go_on.wait()
        steps.append("superseded")

    task = asyncio.create_task(completed(work()))
    await others_have_run()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert steps == ["stored"]
    go_on.set()
    await others_have_run()
    assert steps == ["stored", "superseded"]


async def test_a_caller_that_leaves_ends_what_is_done_for_it() -> None:
    messages: asyncio.Queue[Message] = asyncio.Queue()
    messages.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, messages.get)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    messages.put_nowait({"type": "http.disconnect"})
    with pytest.raises(ClientDisconnect):
        await unless_gone(disconnected(request), work())
    assert ended.is_set()


async def test_answers_and_errors_of_what_is_done_reach_a_caller_that_stays() -> None:
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": []}, asyncio.Event().wait)  # type: ignore[arg-type]

    async def work(error: Exception | None) -> str:
        if error:
            raise error
        return "answer"

    assert await unless_gone(disconnected(request), work(None)) == "answer"
    with pytest.raises(KeyError):
        await unless_gone(disconnected(request), work(KeyError()))


async def test_an_answered_request_lets_go_of_what_it_sent_at_once() -> None:
    calls: list[weakref.ref[Call]] = []

    async def streamer() -> None:
        call = Call()
        # As gRPC's calls do: the task that makes them, and with it the context in which they are noted.
        call.context = contextvars.copy_context()  # type: ignore[attr-defined]
        note_call(call)
        calls.append(weakref.ref(call))

    gc.collect()
    gc.disable()
    try:
        with ended_with_caller():
            await asyncio.create_task(streamer())
        assert calls[0]() is None
    finally:
        gc.enable()
