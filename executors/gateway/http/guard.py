"""Middleware around every HTTP request: it checks the caller, gives the request an id, and turns any defect into an error."""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from executors.errors import VisualSearchError, as_error
from executors.gateway.http.origins import CallerCheck
from executors.gateway.http.paths import sent_path
from executors.gateway.http.protocol import headers_too_large
from executors.gateway.http.responses import error_response
from executors.request_id import HEADER, request_id_from, request_scope

# Load balancers call these by their own address or name; the answers hold nothing that needs protection.
_FOR_EVERYBODY = "/health/"
# The server itself refuses larger headers only if they arrive in several pieces.
_MOST_HEADER_BYTES = 65_536


# In the scope of a request: whether it was sent as HEAD.
IS_HEAD: Final = "visual_search.head"


class CallerGuard:
    """Refuses wrong host names, foreign origins and too large headers before anything else handles a request."""

    def __init__(self, app: ASGIApp, callers: CallerCheck) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except VisualSearchError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        line = len(scope.get("raw_path") or b"") + len(scope["query_string"])
        if line + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > _MOST_HEADER_BYTES:
            raise headers_too_large()
        if not sent_path(scope).startswith(_FOR_EVERYBODY):
            headers = Headers(scope=scope)
            self._callers.check(headers.get("host"), headers.get("origin"))


class RequestIds:
    """Gives each request its id, the caller's or a new one, and sends it back with every answer, including errors."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).get(HEADER))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (HEADER.lower().encode(), request_id.encode())]
            await send(message)

        with request_scope(request_id):
            await self._app(scope, receive, send_with_id)


class DefectGuard:
    """Passes the request on with its path as it was sent, and answers any unexpected exception with an error.

    HEAD is handled as GET; the server leaves out the body by itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        try:
            await self._app({**scope, "path": sent_path(scope), "method": method, IS_HEAD: is_head}, receive, send)
        except ClientDisconnect:
            return
        except Exception as error:
            # The log gets the traceback, the caller does not.
            await error_response(as_error(error, "gateway"))(scope, receive, send)
