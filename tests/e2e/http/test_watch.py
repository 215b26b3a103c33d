"""`GET /watch` over HTTP: the present state first, then every change; its callers cost others nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from executors.gateway.http import watch
from tests.support.flows.local_gateway import LocalGateway, local_gateway

X = [1.0, 0.0, 0.0, 0.0]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(15):
        while not holds():
            await asyncio.sleep(0.01)


class Stream:
    """One reader of the events."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.answer = answer

    async def part(self) -> str:
        """The next event, comment or instruction."""
        async with asyncio.timeout(15):
            return (await self.answer.content.readuntil(b"\n\n")).decode()

    async def event(self, topic: str, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The next event of the topic whose data fulfil the condition."""
        while True:
            fields = dict(line.split(": ", 1) for line in (await self.part()).splitlines() if line)
            if fields.get("event") == topic:
                assert fields["id"]
                data: dict[str, Any] = json.loads(fields["data"])
                if holds(data):
                    return data


@contextlib.asynccontextmanager
async def watching(gateway: LocalGateway) -> AsyncIterator[Stream]:
    async with aiohttp.ClientSession(gateway.url) as http, http.get("/watch") as answer:
        assert answer.status == 200
        yield Stream(answer)


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    async with local_gateway(2, max_watchers=2) as running:
        yield running


async def test_the_present_state_comes_first(gateway: LocalGateway) -> None:
    async with watching(gateway) as stream:
        assert stream.answer.content_type == "text/event-stream"
        assert stream.answer.headers["Cache-Control"] == "no-store"
        assert stream.answer.headers["X-Request-Id"]
        assert await stream.part() == "retry: 2000\n\n"
        topics = [(await stream.part()).splitlines()[1] for _ in range(3)]
        assert topics == ["event: health", "event: rebuilds", "event: jobs"]
        assert gateway.call.service.gate.in_flight == 0
    async with watching(gateway) as again:
        assert (await again.event("health"))["ok"]
        assert await again.event("jobs") == {"running": [], "ended": {}}


async def test_health_and_work_are_told_as_they_change(gateway: LocalGateway) -> None:
    async with watching(gateway) as stream:
        assert (await stream.event("health"))["ok"]
        gateway.call.stages.missing = {1}
        told = await stream.event("health")
        assert (told["ok"], told["missing_shards"], told["silent"]) == (False, [1], ["index/shard-1"])
        gateway.call.stages.missing = set()
        assert (await stream.event("health"))["ok"]
        async with aiohttp.ClientSession(gateway.url) as http:
            documents = [{"id": f"{n}", "embedding": X} for n in range(9)]
            assert (await http.post("/index", json={"data": documents})).status == 200
        told = await stream.event("jobs", lambda data: not data["running"])
        assert told == {"running": [], "ended": {"/index": {"jobs": 1, "documents": 9}}}


async def test_a_caller_that_leaves_makes_room_for_another(gateway: LocalGateway) -> None:
    async with aiohttp.ClientSession(gateway.url) as http:
        async with watching(gateway) as first, watching(gateway) as second:
            await first.event("health")
            await second.event("health")
            refused = await http.get("/watch")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
            assert (await refused.json())["error"]["code"] == "overloaded"
            # Other requests are not affected.
            assert (await http.post("/count", json={})).status == 200
        async with asyncio.timeout(15):
            while (answer := await http.get("/watch")).status == 429:
                await asyncio.sleep(0.05)
        assert answer.status == 200
        answer.close()


async def test_the_stream_ends_when_the_gateway_stops(gateway: LocalGateway) -> None:
    async with watching(gateway) as stream:
        await stream.event("jobs")
        gateway.health.hub.close()
        assert (await stream.event("end"))["code"] == "draining"
        assert await stream.answer.content.read() == b""
    async with aiohttp.ClientSession(gateway.url) as http:
        refused = await http.get("/watch")
        assert (refused.status, (await refused.json())["error"]["code"]) == (503, "draining")


async def test_a_silent_time_has_heartbeats(gateway: LocalGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_HEARTBEAT_S", 0.05)
    async with watching(gateway) as stream:
        await stream.event("jobs")
        assert await stream.part() == ": still here\n\n"


async def test_a_caller_that_does_not_read_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1_000_000))

    async def large(_: Any) -> dict[str, dict[str, Any]]:
        return {"jobs": {"n": next(numbers), "padding": "x" * 4_000_000}}

    monkeypatch.setattr("executors.gateway.health.state_of", large)
    monkeypatch.setattr(watch, "_READ_WITHIN_S", 0.2)
    async with local_gateway(1, max_watchers=1) as gateway:
        address = urlsplit(gateway.url)
        with socket.socket() as silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            silent.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(silent, (address.hostname, address.port))
            await loop.sock_sendall(silent, b"GET /watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await until(lambda: gateway.health.hub.watchers == 1)
            await until(lambda: gateway.health.hub.watchers == 0)
            # What the kernel had taken comes, the rest of the event does not.
            read = 0
            with contextlib.suppress(ConnectionResetError):
                while part := await loop.sock_recv(silent, 1_000_000):
                    read += len(part)
            assert 0 < read < 4_000_000


async def test_head_and_wrong_requests(gateway: LocalGateway) -> None:
    async with aiohttp.ClientSession(gateway.url) as http:
        head = await http.head("/watch")
        assert (head.status, head.content_type) == (200, "text/event-stream")
        assert gateway.health.hub.watchers == 0
        unknown = await http.get("/watch?from=1")
        assert (unknown.status, (await unknown.json())["error"]["code"]) == (400, "invalid_parameter")
        assert (await http.post("/watch", json={})).status == 405
