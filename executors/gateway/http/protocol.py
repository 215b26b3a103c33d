"""Options of the HTTP server, and the JSON error that answers bytes that are not HTTP."""

from __future__ import annotations

import asyncio
import sys
from http import HTTPStatus
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from executors.errors import VisualSearchError
from executors.gateway.http.responses import error_response

# After a refusal, the server reads and drops what the caller still sends for this time. Closing a connection with unread
# bytes resets it, and the caller would not get the answer.
_LINGER_S: Final = 2.0
# When the server ends, it waits no longer than this for callers that send or read slowly.
_SHUTDOWN_S: Final = 10
_HEADERS_TOO_LARGE: Final = 431
# The extension of the ASGI scope that closes the connection.
ABORT: Final = "visual_search.abort"


def server_options(keepalive_s: int, root_path: str = "") -> dict[str, Any]:
    """Return the options of uvicorn, without the application and the address.

    Args:
        keepalive_s: seconds that an idle connection stays open.
        root_path: the path below which a proxy shows the service.
    """
    return {
        # This uvicorn knows no networks; see `callers.forwarded_address`.
        "proxy_headers": False,
        "root_path": root_path,
        "http": HttpProtocol,
        "ws": "none",
        "timeout_keep_alive": keepalive_s,
        "timeout_graceful_shutdown": _SHUTDOWN_S,
    }


class HttpProtocol(H11Protocol):
    """One connection. uvicorn calls `send_400_response` while it handles an exception of h11."""

    _refused = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.app = self._abortable(self.app)

    def data_received(self, data: bytes) -> None:
        """Handle bytes that the caller sent."""
        if not self._refused:
            super().data_received(data)

    def _abortable(self, app: Any) -> Any:
        """Give the application a way to close the connection at once, whatever its caller has not read yet."""

        async def with_abort(scope: Any, receive: Any, send: Any) -> None:
            extensions = {**scope.get("extensions", {}), ABORT: self.transport.abort}
            await app({**scope, "extensions": extensions}, receive, send)

        return with_abort

    def send_400_response(self, msg: str) -> None:
        """Answer bytes that h11 could not read with an error, and close the connection."""
        self._refused = True
        # In the middle of an answer, no other answer can begin.
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
    """Return the error for an exception of h11."""
    if getattr(fault, "error_status_hint", 400) == _HEADERS_TOO_LARGE:
        return headers_too_large()
    # After the reason, h11 shows the bytes that it got; they tell the caller nothing new.
    reason = str(fault).partition(": bytearray(")[0]
    return VisualSearchError("malformed_request", f"this is not an HTTP/1.1 request: {reason}")


def headers_too_large() -> VisualSearchError:
    """Return the error for a request line and headers that are too large."""
    return VisualSearchError("headers_too_large", "the request line and headers have more than 64 KiB")


def _reason(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
