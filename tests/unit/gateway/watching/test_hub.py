"""Watchers get the present state first, then what changes; slow ones miss nothing of the state, and use no memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.gateway.watching.hub import Hub, Watcher
from executors.gateway.watching.topics import Event


class Service:
    """A state that tests change, and how often it was asked for."""

    def __init__(self) -> None:
        self.state: dict[str, dict[str, Any]] = {"health": {"ok": True}, "jobs": {"n": 0}}
        self.asked = 0
        self.fails = False

    async def __call__(self) -> dict[str, dict[str, Any]]:
        self.asked += 1
        if self.fails:
            raise ValueError("the state is unknown")
        return {topic: dict(data) for topic, data in self.state.items()}

    async def asked_again(self) -> None:
        """Wait until the state was asked for twice more, so that the present one was told."""
        await until(lambda wanted=self.asked + 2: self.asked >= wanted)  # type: ignore[misc]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


async def next_of(watcher: Watcher) -> Event:
    async with asyncio.timeout(10):
        event = await watcher.next()
    assert event is not None
    return event


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def hub(service: Service) -> Hub:
    return Hub(service, limit=2, interval_s=0.001)


async def test_the_present_state_comes_first_then_only_what_changes(hub: Hub, service: Service) -> None:
    watcher = hub.enter()
    first, second = await next_of(watcher), await next_of(watcher)
    assert {first.topic: first.data, second.topic: second.data} == service.state
    service.state["jobs"] = {"n": 1}
    third = await next_of(watcher)
    assert (third.topic, third.data) == ("jobs", {"n": 1})
    assert len({first.id, second.id, third.id}) == 3
    await service.asked_again()
    late = hub.enter()
    present = [await next_of(late), await next_of(late)]
    assert {event.topic: event.data for event in present} == service.state
    hub.leave(watcher)
    hub.leave(late)


async def test_a_slow_reader_gets_the_newest_state_of_each_topic(hub: Hub, service: Service) -> None:
    watcher = hub.enter()
    for n in range(20):
        service.state["jobs"] = {"n": n}
        await service.asked_again()
    events = [await next_of(watcher), await next_of(watcher)]
    assert {each.topic: each.data for each in events} == {"health": {"ok": True}, "jobs": {"n": 19}}
    hub.leave(watcher)


async def test_nothing_is_asked_while_nobody_watches(hub: Hub, service: Service) -> None:
    assert service.asked == 0
    watcher = hub.enter()
    await next_of(watcher)
    hub.leave(watcher)
    hub.leave(watcher)
    asked = service.asked
    await asyncio.sleep(0.02)
    assert service.asked == asked
    service.state["health"] = {"ok": False}
    again = hub.enter()
    assert (await next_of(again)).data == {"ok": False}
    hub.leave(again)


async def test_the_number_of_watchers_is_bounded(hub: Hub) -> None:
    first, second = hub.enter(), hub.enter()
    with pytest.raises(VisualSearchError) as refused:
        hub.enter()
    assert (refused.value.code, refused.value.details["retry_after_s"]) == ("overloaded", 5)
    hub.leave(first)
    third = hub.enter()
    for each in (second, third):
        hub.leave(each)


async def test_the_end_of_the_gateway_is_the_last_event(hub: Hub) -> None:
    watcher = hub.enter()
    await next_of(watcher)
    await next_of(watcher)
    waiting = asyncio.create_task(watcher.next())
    await asyncio.sleep(0)
    hub.close()
    event = await waiting
    assert event is not None
    assert (event.topic, event.data["code"]) == ("end", "draining")
    assert await watcher.next() is None
    hub.leave(watcher)
    with pytest.raises(VisualSearchError, match="draining"):
        hub.enter()


async def test_a_state_that_can_not_be_told_is_logged_and_asked_for_again(
    hub: Hub, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.fails = True
    watcher = hub.enter()
    await service.asked_again()
    service.fails = False
    assert (await next_of(watcher)).topic == "health"
    assert "the state for /watch can't be told" in caplog.text
    hub.leave(watcher)
