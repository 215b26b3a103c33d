"""The HTTP route of `/watch`: server-sent events. A caller that does not read them loses its connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from executors.gateway.door import Door
from executors.gateway.endpoints import WATCH
from executors.gateway.http import openapi
from executors.gateway.http.callers import caller_of, no_body
from executors.gateway.http.guard import IS_HEAD
from executors.gateway.http.protocol import ABORT
from executors.gateway.http.query import query_values
from executors.gateway.watching.hub import Hub, Watcher
from executors.gateway.watching.topics import HEARTBEAT

_HEARTBEAT_S: Final = 15.0
# A caller that has not read an event after this time loses its connection.
_READ_WITHIN_S: Final = 10.0
# When to connect again, in milliseconds.
_FIRST: Final = b"retry: 2000\n\n"
_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    # nginx would keep events back until its buffer is full.
    "x-accel-buffering": "no",
}


def add_watch(app: FastAPI, door: Door, hub: Hub) -> None:
    """Add the route."""

    @app.get("/watch", response_class=Response, **openapi.WATCH)
    async def watch(request: Request) -> Response:
        query_values(request, known=())
        await door.answer(WATCH, caller_of(request), no_body)
        if request.scope.get(IS_HEAD):
            return Response(headers=_HEADERS)
        return EventStream(hub, heartbeat_s=_HEARTBEAT_S, read_within_s=_READ_WITHIN_S)


class EventStream(Response):
    """A response that goes on until the caller leaves, or the gateway stops.

    Args:
        hub: where the watcher enters.
        heartbeat_s: after so many seconds without an event, a comment is sent.
        read_within_s: how long the caller may take to read, in seconds.
    """

    def __init__(self, hub: Hub, *, heartbeat_s: float, read_within_s: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._hub = hub
        self._heartbeat_s = heartbeat_s
        self._read_within_s = read_within_s
        # Before the response begins, so that a refusal has its status.
        self._watcher = hub.enter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        leaving = asyncio.create_task(_left(receive))
        sending = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except TimeoutError:
            await _abort(scope)
        finally:
            self._hub.leave(self._watcher)
            for each in (leaving, sending):
                each.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send_part(send, _FIRST)
        while (part := await self._next(self._watcher)) is not None:
            await self._send_part(send, part)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_part(self, send: Send, part: bytes) -> None:
        """Send some bytes.

        Raises:
            TimeoutError: the caller has not read what was sent before.
        """
        async with asyncio.timeout(self._read_within_s):
            await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _next(self, watcher: Watcher) -> bytes | None:
        try:
            async with asyncio.timeout(self._heartbeat_s):
                event = await watcher.next()
        except TimeoutError:
            return HEARTBEAT
        return None if event is None else event.encoded()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _abort(scope: Scope) -> None:
    """Close the connection without waiting until the caller has read what was sent."""
    abort: Callable[[], Any] | None = scope.get("extensions", {}).get(ABORT)
    if abort is not None:
        abort()
        # uvicorn learns it in the next turn of the event loop.
        await asyncio.sleep(0)
