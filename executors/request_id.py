"""The id of a request. The caller gives it or the gateway makes it; log lines of the request and the answer carry it.

It is a context variable, so tasks that a request starts inherit it. Between the processes of a flow it travels as gRPC
metadata.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = "X-Request-Id"
# The keys of gRPC metadata must be in lower case.
METADATA_KEY: Final = "x-request-id"
MAX_LENGTH: Final = 128

_current: Final[ContextVar[str]] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """Return the id of the request that this task works for; empty outside of a request."""
    return _current.get()


def is_valid(request_id: str) -> bool:
    """Return whether a caller may use this id: 1 to 128 visible ASCII characters, which can't break a log line or a header."""
    return 0 < len(request_id) <= MAX_LENGTH and all("!" <= letter <= "~" for letter in request_id)


def request_id_from(*given: str | None) -> str:
    """Return the first valid id of those given, or a new one; an invalid id is no reason to refuse a request."""
    return next((each for each in given if each and is_valid(each)), None) or uuid.uuid4().hex


def set_request_id(request_id: str) -> None:
    """Set the id for the rest of this task."""
    _current.set(request_id)


@contextmanager
def request_scope(request_id: str) -> Iterator[None]:
    """Set the id for the work inside the block."""
    token = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(token)
