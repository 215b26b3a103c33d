"""Describes the caller of an HTTP request for the door."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from executors.gateway.access import SignedAddress
from executors.gateway.disconnection import disconnected
from executors.gateway.door import Body, Caller
from executors.gateway.intake import Held


def caller_of(request: Request, signed: SignedAddress | None = None) -> Caller:
    """Return the caller of a request.

    Args:
        signed: what the address says about itself, in place of a key.
    """
    address = request.client.host if request.client else None
    return Caller("http", address, request.headers, partial(disconnected, request), signed)


async def no_body(_: Held) -> Body:
    """Read a request without a body: no documents and no parameters."""
    return [], {}
