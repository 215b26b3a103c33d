"""JSON from outside, read without changing a value and without losing one."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

_MOST_SHOWN: Final = 80


class InvalidJsonError(ValueError):
    """What was sent is not JSON, or names a key twice; the message goes on after "the body"."""


class RepeatedKeyError(InvalidJsonError):
    """It is JSON, but names a key twice: one of the two values would be lost."""


def read_json(text: bytes | str) -> Any:
    """A JSON value. Whole numbers of any size stay whole, and a key that stands twice in one object is refused.

    It is read twice: orjson refuses what is not JSON (NaN, lone surrogates, numbers that no float can hold), which Python's
    own reader takes; that one keeps integers beyond 64 bits and shows every pair, where orjson keeps the last one in silence.

    Raises:
        InvalidJsonError: it is not JSON, names a key twice, or is nested too deep to be read.
    """
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidJsonError(f"is not JSON: {error}") from None
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=unique_keys)
    except RecursionError:
        raise InvalidJsonError("is nested too deep") from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON from its pairs, for `json.loads`.

    Raises:
        RepeatedKeyError: a key stands twice.
    """
    values = dict(pairs)
    if len(values) < len(pairs):
        raise RepeatedKeyError(f"names the key {_repeated(pairs)!r} twice in one object")
    return values


def _repeated(pairs: list[tuple[str, Any]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key if len(key) <= _MOST_SHOWN else f"{key[:_MOST_SHOWN]}…"
        seen.add(key)
    raise AssertionError("no key stands twice")
