"""Options of the HTTP server, and our form of error for bytes that are not HTTP."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from executors.errors import VisualSearchError
from executors.gateway.http.responses import error_response

# What a caller still sends after it was refused is read and thrown away for so long: a connection that is closed with
# unread bytes is reset, and the answer lost with it.
_LINGER_S: Final = 2.0
# Callers that send or read slowly are not waited for longer when the server ends.
_SHUTDOWN_S: Final = 10
_HEADERS_TOO_LARGE: Final = 431


def server_options(keepalive_s: int) -> dict[str, Any]:
    """What uvicorn is started with, beside the application and its address."""
    return {
        "http": HttpProtocol,
        "ws": "none",
        "timeout_keep_alive": keepalive_s,
        "timeout_graceful_shutdown": _SHUTDOWN_S,
    }


class HttpProtocol(H11Protocol):
    """One connection. uvicorn calls `send_400_response` while it handles what h11 raised."""

    _refused = False

    def data_received(self, data: bytes) -> None:
        """Take what the caller sent."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what h11 could not read, and close."""
        self._refused = True
        # The middle of an answer can't become another one.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(error_of(sys.exception() or ValueError(msg)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_S, self.transport.close)

    def _send(self, error: VisualSearchError) -> None:
        answer = error_response(error)
        headers = [*answer.raw_headers, (b"connection", b"close")]
        for event in (
            h11.Response(status_code=answer.status_code, headers=headers, reason=_reason(answer.status_code)),
            h11.Data(data=bytes(answer.body)),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")


def error_of(fault: BaseException) -> VisualSearchError:
    """The error for what h11 found wrong."""
    if getattr(fault, "error_status_hint", 400) == _HEADERS_TOO_LARGE:
        return headers_too_large()
    # Behind the reason, h11 shows the bytes, of which a caller that spoke another protocol would learn nothing.
    reason = str(fault).partition(": bytearray(")[0]
    return VisualSearchError("malformed_request", f"this is not an HTTP/1.1 request: {reason}")


def headers_too_large() -> VisualSearchError:
    """The error for more of the request line and headers than is taken."""
    return VisualSearchError("headers_too_large", "the request line and headers have more than 64 KiB")


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
