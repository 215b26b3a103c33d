"""Paths as they were sent: routes are matched before anything is decoded, and a parameter is decoded once, as it stands.

Matched after decoding, `%0A` at the end is invisible to a regular expression's `$`, `%2F` divides a name in two, and bytes
that are not UTF-8 become the same replacement character: each of them would reach another thing than the one named.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from executors.errors import VisualSearchError

# Escapes of these mean the same as the characters themselves (RFC 3986, 2.3 and 6.2.2.2).
_UNRESERVED: Final = re.compile(r"%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|3[0-9]|2D|2E|5F|7E)", re.IGNORECASE)


def sent_path(scope: Scope) -> str:
    """The path of a request as it was sent, with needless escapes removed; only ASCII, and never a line break."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    return _UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), path)


def decoded(text: str, what: str) -> str:
    """A part of a URL without its escapes.

    Raises:
        VisualSearchError: `invalid_parameter` when it is not UTF-8.
    """
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise VisualSearchError(
            "invalid_parameter", f"{what} {text[:200]!r} is not UTF-8 with percent escapes"
        ) from None


class _Segment(Convertor[str]):
    """One segment of a path; an escaped slash belongs to it."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return decoded(value, "the path's")

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _Rest(_Segment):
    """All that is left of a path, slashes included."""

    regex = ".*"


register_url_convertor("segment", _Segment())
register_url_convertor("rest", _Rest())
