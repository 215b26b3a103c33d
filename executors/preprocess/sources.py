"""Decodes a document's content to bytes, and checks its size first. Files and URLs are never opened."""

from __future__ import annotations

import binascii
import re
from typing import Final

from executors.errors import VisualSearchError

# data:[<media type>][;<parameter>]*;base64,<data>  (RFC 2397)
_DATA_URI: Final = re.compile(r"\s*data:[^,]{0,1024};\s*base64\s*,", re.IGNORECASE)
_WHITESPACE: Final = " \t\r\n\f\v"
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")


def check_size(data: bytes, max_bytes: int) -> None:
    """Refuse an encoded picture of more than `max_bytes` bytes.

    Raises:
        VisualSearchError: `image_too_large`.
    """
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)


def decode_base64(text: str, max_bytes: int) -> bytes:
    """Decode base64 (RFC 4648) or a base64 data URI (RFC 2397).

    The standard and the URL-safe alphabet, white space anywhere, and missing padding are accepted. Nothing is decoded
    before the length is known to be within the limit.

    Args:
        text: the value of `blob`.
        max_bytes: the maximum size of the result, in bytes.

    Raises:
        VisualSearchError: `image_too_large`, `invalid_base64` for anything that is not base64, `no_content` for an
            empty picture.
    """
    start = 0
    if text[:64].lstrip()[:5].lower() == "data:":
        prefix = _DATA_URI.match(text)
        if prefix is None:
            raise VisualSearchError("invalid_base64", "the data URI is not of the form data:<type>;base64,<data>")
        start = prefix.end()
    decoded = _decoded_size(text, start, max_bytes)
    if decoded > max_bytes:
        raise _too_large(decoded, max_bytes)
    try:
        # Well-formed base64 is decoded without a copy.
        result = binascii.a2b_base64(text[start:] if start else text, strict_mode=True)
    except ValueError:
        result = _decode_tolerantly(text[start:])
    if not result:
        if text[start:].strip():
            raise VisualSearchError("invalid_base64", "`blob` holds only padding")
        raise VisualSearchError("no_content", "the picture is empty: it has 0 bytes")
    return result


def _decoded_size(text: str, start: int, max_bytes: int) -> int:
    """The decoded size in bytes: an upper bound, which is exact if it exceeds the limit."""
    length = len(text) - start
    if length * 3 // 4 > max_bytes:
        length -= sum(text.count(character, start) for character in _WHITESPACE + "=")
    return length * 3 // 4


def _decode_tolerantly(text: str) -> bytes:
    """Decode text with white space, the URL-safe alphabet, or no padding."""
    try:
        digits = text.encode("ascii").translate(_URL_SAFE, delete=_WHITESPACE.encode())
        body = digits.rstrip(b"=")
        if len(digits) - len(body) > 2 or len(body) % 4 == 1:
            raise VisualSearchError("invalid_base64", "`blob` is cut off or has characters that don't belong to base64")
        return binascii.a2b_base64(body + b"=" * (-len(body) % 4), strict_mode=True)
    except ValueError:
        raise VisualSearchError(
            "invalid_base64", "`blob` has characters that don't belong to base64; send base64 or a data URI"
        ) from None


def _too_large(size: int, limit: int) -> VisualSearchError:
    return VisualSearchError(
        "image_too_large", f"the picture has {size} bytes; at most {limit} are accepted", bytes=size, limit=limit
    )
