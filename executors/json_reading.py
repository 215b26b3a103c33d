"""JSON from outside, read without changing a value."""

from __future__ import annotations

import json
import re
from typing import Any, Final

import orjson

# A whole number that may exceed 64 bits, outside of base64, fractions and exponents.
_LONG_INTEGER: Final = re.compile(rb"(?<![\w.+/=-])-?\d{19,}(?![\w.+/=])")


def read_json(text: bytes | str) -> Any:
    """A JSON value as `orjson.loads` reads it, but that integers beyond 64 bits stay integers instead of becoming floats.

    Raises:
        orjson.JSONDecodeError: it is not JSON.
    """
    value = orjson.loads(text)
    encoded = text.encode() if isinstance(text, str) else text
    if _LONG_INTEGER.search(encoded) is None:
        return value
    # orjson has seen that nothing is in it that only this reader would take; it also refuses what no float can hold, so
    # that no number is too long for Python.
    return json.loads(encoded)
