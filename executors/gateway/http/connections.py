"""The limit on HTTP connections, which leaves file descriptors for the stages; at the limit, the one idle longest is closed."""

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
from executors.request_id import HEADER, request_id_from

# Left for calls to stages, files of uploads, gRPC callers, and connections that are accepted in one turn of the event loop.
SPARE_DESCRIPTORS: Final = 48
FEWEST: Final = 8
_log = logging.getLogger(__name__)
_GRPC_PART: Final = 4
MOST_OF_GRPC: Final = 1_000
# asyncio accepts up to `backlog` connections in one turn of its loop before it looks at the first; when it has no
# descriptors left, it logs a traceback for each of them, 2,048 at once with uvicorn's default.
ACCEPTED_AT_ONCE: Final = 16
# How many connections may wait in the kernel to be accepted.
_WAITING_IN_KERNEL: Final = 2048
# The time for the request line and headers to arrive, from the first byte or from the start of the connection.
HEADERS_S: Final = 10.0
# A connection that received something within this time is not closed to make room for another.
_IDLE_S: Final = 0.25


def connection_limit(wanted: int, promised: int = 0) -> int:
    """Return how many connections this process can hold, given its limit of file descriptors and those in use.

    Args:
        wanted: the result is never larger than this.
        promised: descriptors to leave free because something else will open them.
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
    """Return how many connections gRPC may have: a share of all, because one gRPC connection carries many requests."""
    return max(FEWEST, connection_limit(_GRPC_PART * MOST_OF_GRPC) // _GRPC_PART)


def grpc_options(limit: int) -> dict[str, Any]:
    """Return options of the gRPC server: it closes connections beyond the limit, and those that don't begin to speak gRPC.

    By default gRPC accepts without limit, and keeps a silent connection for two minutes.
    """
    return {
        "grpc.max_allowed_incoming_connections": limit,
        "grpc.server_handshake_timeout_ms": round(1000 * HEADERS_S),
    }


class Connections:
    """The open connections of one server. Belongs to one event loop.

    Args:
        limit: the most connections that may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: dict[BoundedProtocol, None] = {}

    def protocol(self, **options: Any) -> BoundedProtocol:
        """Make the protocol object of a new connection; uvicorn calls this."""
        return BoundedProtocol(self, **options)

    def admit(self, new: BoundedProtocol) -> bool:
        """Count a new connection, closing an idle one if the limit is reached; return False if no room can be made."""
        if len(self._open) >= self.limit and not self._close_idle():
            _log.error("a connection was refused: %d are open and busy (VS_MAX_CONNECTIONS, ulimit -n)", self.limit)
            return False
        self._open[new] = None
        return True

    def forget(self, protocol: BoundedProtocol) -> None:
        """Stop counting a connection that was closed."""
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
    """uvicorn's protocol for one connection; the connection is counted, and each request must begin in time."""

    def __init__(self, connections: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._connections = connections
        self._headers_due: asyncio.TimerHandle | None = None
        self.heard_at = 0.0

    @property
    def waits_for_caller(self) -> bool:
        """Whether the next step is the caller's: no request is open, or the rest of its body has yet to arrive."""
        if self.cycle is None or self.cycle.response_complete:
            return True
        # If the body waits for memory, the caller is silent because the gateway paused reading.
        return bool(self.cycle.more_body and not self.flow.read_paused)

    def connection_made(self, transport: Any) -> None:
        """Count the connection, or answer 429 and close it."""
        self.heard_at = self.loop.time()
        super().connection_made(transport)
        if self._connections.admit(self):
            self._expect_headers()
        else:
            transport.write(_refusal())
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass data on, and end the wait for headers once a request has all of them."""
        self.heard_at = self.loop.time()
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_headers()
        elif self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting the connection."""
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
    """Return the options that make uvicorn use these connections."""
    return {"http": partial(connections.protocol), "backlog": ACCEPTED_AT_ONCE}


def let_kernel_keep_waiting(servers: Iterable[asyncio.Server]) -> None:
    """Let many connections wait in the kernel, so that none is refused while the event loop is busy.

    uvicorn's `backlog` stays small, because it also says how many connections asyncio accepts in one turn.
    """
    for server in servers:
        for listener in server.sockets:
            with socket.socket(fileno=os.dup(listener.fileno())) as same:
                same.listen(_WAITING_IN_KERNEL)


def _refusal() -> bytes:
    error = VisualSearchError("overloaded", "too many connections are open; try again", retry_after_s=1)
    body = orjson.dumps({"error": error.to_json()})
    head = (
        "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n"
        f"content-length: {len(body)}\r\n{HEADER.lower()}: {request_id_from(None)}\r\n\r\n"
    )
    return head.encode() + body
