"""JSON from outside, read without changing a value and without losing one."""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import orjson

from executors.document_values import is_text

_MOST_SHOWN: Final = 80
# What stands at the end of every key. It may stand in texts, too, so its number is only the most keys that there can be.
_KEY_END: Final = r'"[ \t\n\r]*:'
_KEY_ENDS_IN_TEXT: Final = re.compile(_KEY_END)
_KEY_ENDS_IN_BYTES: Final = re.compile(_KEY_END.encode())
# orjson makes a float of a larger integer.
_LARGEST_INTEGER: Final = 2.0**63
# Python's own reader, and what walks through values by recursion, goes little deeper.
_DEEPEST: Final = 900
_NUMBERS: Final = frozenset({int, float})


class InvalidJsonError(ValueError):
    """What was sent is not JSON, or names a key twice; the message goes on after "the body"."""


class RepeatedKeyError(InvalidJsonError):
    """It is JSON, but names a key twice: one of the two values would be lost."""


def read_json(text: bytes | str) -> Any:
    """A JSON value. Whole numbers of any size stay whole, and a key that stands twice in one object is refused.

    orjson reads it, ten times faster than Python's own reader, and refuses what is not JSON (NaN, lone surrogates, numbers that
    no float can hold), which that one takes. Where orjson may have lost something (a key that stands twice, an integer beyond
    64 bits), Python's own reader reads the text again.

    Raises:
        InvalidJsonError: it is not JSON, names a key twice, or is nested too deep to be read.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidJsonError(f"is not JSON: {error}") from None
    ends = _KEY_ENDS_IN_TEXT.findall(text) if isinstance(text, str) else _KEY_ENDS_IN_BYTES.findall(text)
    if _lost_nothing(value, len(ends)):
        return value
    try:
        return json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=unique_keys)
    except RecursionError:
        raise InvalidJsonError("is nested too deep") from None


def _lost_nothing(value: Any, most_keys: int) -> bool:
    """Whether orjson surely read every key and every integer of a text.

    Args:
        value: what it read.
        most_keys: how many keys the text has at most. If as many were read, none stood twice.
    """
    keys = depth = 0
    level = [value]
    while level:
        depth += 1
        below: list[Any] = []
        for each in level:
            kind = type(each)
            if kind is dict:
                keys += len(each)
                below += each.values()
            elif kind is list:
                kinds = set(map(type, each))
                if not kinds <= _NUMBERS:
                    below += each
                elif float in kinds and not (min(each) > -_LARGEST_INTEGER and max(each) < _LARGEST_INTEGER):
                    return False
            elif kind is float and not -_LARGEST_INTEGER < each < _LARGEST_INTEGER:
                return False
        if depth > _DEEPEST:
            return False
        level = below
    return keys == most_keys


def read_json_values(text: bytes | str) -> Any:
    """The same for what holds documents: a text that is not Unicode, or a number that no float can hold, is taken, so that
    it costs its own document only. Such a number is infinite.

    RFC 8259 allows both, and Python's own writer makes them, of a file name that is not UTF-8 for example. Who calls this
    checks each value (`check_text`, `plain_tags`, `is_json`).

    Raises:
        InvalidJsonError: as `read_json`.
    """
    try:
        return read_json(text)
    except RepeatedKeyError:
        raise
    except InvalidJsonError as refused:
        try:
            given = text if isinstance(text, str) else text.decode()
            return json.loads(given, object_pairs_hook=unique_keys, parse_int=_whole, parse_constant=_no_number)
        except RepeatedKeyError:
            raise
        except (ValueError, RecursionError):
            raise refused from None


def is_json(value: Any) -> bool:
    """Whether a value that was read has a form in JSON that every program reads: Unicode texts and finite numbers."""
    left = [value]  # not by recursion: what could be read may be nested deeper than Python calls itself
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left += each.keys()
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif (isinstance(each, str) and not is_text(each)) or (isinstance(each, float) and not math.isfinite(each)):
            return False
    return True


def _whole(digits: str) -> int | float:
    nearest = float(digits)
    return int(digits) if math.isfinite(nearest) else nearest


def _no_number(name: str) -> Any:
    raise InvalidJsonError(f"holds {name}")


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
