"""The id of a request: given by the caller or made here, written in every log line of the request and sent back with the answer.

It is a context variable, so tasks that a request starts inherit it. Between the processes of a flow it travels as gRPC metadata.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

HEADER: Final = "X-Request-Id"
# Keys of gRPC metadata are in lower case.
METADATA_KEY: Final = "x-request-id"
MAX_LENGTH: Final = 128

_current: Final[ContextVar[str]] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request that this task works for; empty outside of a request."""
    return _current.get()


def is_valid(request_id: str) -> bool:
    """Whether a caller may give this id: 1 to 128 visible ASCII characters, so that it can't break a log line or a header."""
    return 0 < len(request_id) <= MAX_LENGTH and all("!" <= letter <= "~" for letter in request_id)


def request_id_from(*given: str | None) -> str:
    """The first valid id of those given, or a new one. An invalid id is replaced, because it is no reason to refuse a request."""
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
