"""Paths as callers sent them: routes match the path before it is decoded, and each parameter is decoded once.

If the path were decoded first, the `$` of a regular expression would overlook `%0A` at the end, `%2F` would divide a name
in two, and all bytes that are not UTF-8 would become the same replacement character. Each of them would reach another
document than the caller named.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import Scope

from executors.errors import VisualSearchError

# The escape of one of these characters means the same as the character (RFC 3986, 2.3 and 6.2.2.2).
_UNRESERVED: Final = re.compile(r"%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|3[0-9]|2D|2E|5F|7E)", re.IGNORECASE)


def sent_path(scope: Scope) -> str:
    """Return the path of a request as it was sent, without needless escapes. It is ASCII and has no line break."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"])
    return _UNRESERVED.sub(lambda escape: chr(int(escape[0][1:], 16)), path)


def decoded(text: str, what: str) -> str:
    """Return a part of a URL without its escapes.

    Raises:
        VisualSearchError: `invalid_parameter` if it is not UTF-8.
    """
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise VisualSearchError(
            "invalid_parameter", f"{what} {text[:200]!r} is not UTF-8 with percent escapes"
        ) from None


class _Segment(Convertor[str]):
    """One segment of a path; it may contain an escaped slash."""

    regex = "[^/]*"

    def convert(self, value: str) -> str:
        return decoded(value, "the path's")

    def to_string(self, value: str) -> str:
        return quote(value, safe="")


class _Rest(_Segment):
    """The rest of a path, including its slashes."""

    regex = ".*"


register_url_convertor("segment", _Segment())
register_url_convertor("rest", _Rest())
