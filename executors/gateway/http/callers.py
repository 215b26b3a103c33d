"""Describes the caller of an HTTP request for the door."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from executors.gateway.disconnection import disconnected
from executors.gateway.door import Body, Caller
from executors.gateway.intake import Held


def caller_of(request: Request) -> Caller:
    """Return the caller of a request."""
    address = request.client.host if request.client else None
    return Caller("http", address, request.headers, partial(disconnected, request))


async def no_body(_: Held) -> Body:
    """Read a request without a body: no documents and no parameters."""
    return [], {}
