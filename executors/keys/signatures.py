"""Signed addresses, which give access to one thumbnail for a while: an `<img>` of a page sends no key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Final

_BYTES: Final = 18


def sign(key: bytes, collection: str, document_id: str, expires: int) -> str:
    """Return the signature of an address: HMAC-SHA-256 (RFC 2104), its first 144 bits in base64 for URLs.

    Args:
        key: what the signature is made with.
        collection: the document's collection.
        document_id: the document.
        expires: seconds since 1970, from which on the address is worth nothing.
    """
    message = json.dumps([expires, collection, document_id]).encode()
    return base64.urlsafe_b64encode(hmac.new(key, message, hashlib.sha256).digest()[:_BYTES]).decode()


def is_signed(keys: Sequence[bytes], signature: str, collection: str, document_id: str, expires: int) -> bool:
    """Return whether one of the keys made the signature, whatever the time is."""
    given = signature.encode(errors="replace")
    made = [sign(key, collection, document_id, expires).encode() for key in keys]
    return any(hmac.compare_digest(each, given) for each in made)
