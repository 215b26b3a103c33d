"""Describes the caller of an HTTP request for the door."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import partial

from starlette.requests import Request

from executors.gateway.access import SignedAddress, sent_keys
from executors.gateway.disconnection import disconnected
from executors.gateway.door import Body, Caller
from executors.gateway.intake import Held


def caller_of(request: Request, signed: SignedAddress | None = None) -> Caller:
    """Return the caller of a request.

    Args:
        signed: what the address says about itself, in place of a key.
    """
    address = request.client.host if request.client else None
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    address = forwarded_address(address, forwarded, request.app.state.trusted_proxies)
    return Caller("http", address, sent_keys(request.headers.items()), partial(disconnected, request), signed)


def forwarded_address(address: str | None, forwarded: str, trusted: Sequence[str]) -> str | None:
    """Return the caller's address: the last one in X-Forwarded-For that is no trusted proxy's.

    Args:
        address: of the connection.
        forwarded: the header: each proxy adds the address that it was called from.
        trusted: addresses and networks of proxies; from others, the header may say anything.
    """
    for claimed in reversed([each.strip() for each in forwarded.split(",") if each.strip()]):
        if not _is_among(address, trusted):
            break
        address = claimed
    return address


def _is_among(address: str | None, networks: Sequence[str]) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    return any(found in ipaddress.ip_network(each, strict=False) for each in networks)


async def no_body(_: Held) -> Body:
    """Read a request without a body: no documents and no parameters."""
    return [], {}
