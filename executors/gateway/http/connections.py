"""Limits HTTP connections, so that the stages have file descriptors left: the connection that was idle longest is closed."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson

from executors.errors import VisualSearchError
from executors.gateway.http.protocol import HttpProtocol

# Left for calls to stages, files of uploads, gRPC callers, and connections that are accepted in one turn of the event loop.
SPARE_DESCRIPTORS: Final = 48
FEWEST: Final = 8
_log = logging.getLogger(__name__)
_GRPC_PART: Final = 4
MOST_OF_GRPC: Final = 1_000
# asyncio accepts as many connections in one turn of its loop as `backlog` says, before the first is looked at; without
# descriptors it logs a traceback for each, 2,048 at once with uvicorn's default.
ACCEPTED_AT_ONCE: Final = 16
# What the kernel keeps waiting meanwhile.
_WAITING_IN_KERNEL: Final = 2048
# A request's line and headers have to be there so long after its first byte, or after the connection was made.
HEADERS_S: Final = 10.0
# A connection that was heard of just now is not closed for another.
_IDLE_S: Final = 0.25


def connection_limit(wanted: int, promised: int = 0) -> int:
    """How many connections this process can hold, by the descriptors that it may open and has open.

    Args:
        promised: descriptors that are not open yet, and are for others.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        in_use = len(list(Path("/proc/self/fd").iterdir()))
    except OSError:  # only Linux has it
        in_use = 64
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(FEWEST, min(wanted, soft - in_use - SPARE_DESCRIPTORS - promised))


def grpc_connection_limit() -> int:
    """How many of them may be gRPC's, which carries many requests on one: a share of those that there can be."""
    return max(FEWEST, connection_limit(_GRPC_PART * MOST_OF_GRPC) // _GRPC_PART)


def grpc_options(limit: int) -> dict[str, Any]:
    """Options of the gRPC server: one connection more is closed at once, and one that does not speak gRPC soon as well.

    gRPC accepts without end otherwise, and keeps a silent connection for two minutes.
    """
    return {
        "grpc.max_allowed_incoming_connections": limit,
        "grpc.server_handshake_timeout_ms": round(1000 * HEADERS_S),
    }


class Connections:
    """The open connections of one server. Belongs to one event loop.

    Args:
        limit: most of them.
        logger: told when one is refused or closed.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: dict[BoundedProtocol, None] = {}

    def protocol(self, **options: Any) -> BoundedProtocol:
        """What uvicorn makes for a connection."""
        return BoundedProtocol(self, **options)

    def admit(self, new: BoundedProtocol) -> bool:
        """Take a connection in, if there is room or can be made."""
        if len(self._open) >= self.limit and not self._close_idle():
            _log.error("a connection was refused: %d are open and busy (VS_MAX_CONNECTIONS, ulimit -n)", self.limit)
            return False
        self._open[new] = None
        return True

    def forget(self, protocol: BoundedProtocol) -> None:
        """It was closed."""
        self._open.pop(protocol, None)

    def _close_idle(self) -> bool:
        now = asyncio.get_running_loop().time()
        idle = [each for each in self._open if each.waits_for_caller and now - each.heard_at >= _IDLE_S]
        if not idle:
            return False
        _log.error("%d connections are open: the one that was idle longest is closed for another", self.limit)
        oldest = min(idle, key=lambda each: each.heard_at)
        self.forget(oldest)
        oldest.transport.abort()
        return True


class BoundedProtocol(HttpProtocol):
    """uvicorn's protocol for one connection, which is counted, and whose requests have to be begun in time."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        self._headers_due: asyncio.TimerHandle | None = None
        self.heard_at = 0.0

    @property
    def waits_for_caller(self) -> bool:
        """Whether nothing is being done for it: no request has come, or not all of one, or the last one was answered."""
        if self.cycle is None or self.cycle.response_complete:
            return True
        # A body that waits for memory is silent because of us.
        return bool(self.cycle.more_body and not self.flow.read_paused)

    def connection_made(self, transport: Any) -> None:
        """Take it in, or refuse it."""
        self.heard_at = self.loop.time()
        super().connection_made(transport)
        if self._connections.admit(self):
            self._expect_headers()
        else:
            transport.write(_refusal())
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass data on, and see whether a request is complete as far as its headers go."""
        self.heard_at = self.loop.time()
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_headers()
        elif self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self._headers_due is not None:
            self._headers_due.cancel()
        self._connections.forget(self)
        super().connection_lost(exc)

    def _expect_headers(self) -> None:
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(HEADERS_S, self._end_without_request)

    def _end_without_request(self) -> None:
        self._headers_due = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


def bounded_options(connections: Connections) -> dict[str, Any]:
    """Options of uvicorn for these connections."""
    return {"http": partial(connections.protocol), "backlog": ACCEPTED_AT_ONCE}


def let_kernel_keep_waiting(servers: Iterable[asyncio.Server]) -> None:
    """Few are accepted at once, but many may wait for it, instead of being refused while the event loop is busy."""
    for server in servers:
        for listener in server.sockets:
            with socket.socket(fileno=os.dup(listener.fileno())) as same:
                same.listen(_WAITING_IN_KERNEL)


def _refusal() -> bytes:
    error = VisualSearchError("overloaded", "too many connections are open; try again", retry_after_s=1)
    body = orjson.dumps({"error": error.to_json()})
    head = (
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
