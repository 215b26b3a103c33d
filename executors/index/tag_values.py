"""Values of tags: equality of whole values, and tags cut to some of their paths. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson


def value_key(value: Any) -> str:
    """A text that two JSON values share if they are equal: 1 equals 1.0, but neither true nor "1"."""
    return orjson.dumps(_canonical(value), option=orjson.OPT_SORT_KEYS).decode()


def value_at(tags: Mapping[str, Any], path: str) -> tuple[bool, Any]:
    """Whether there is a value at the path, and the whole value; a key that contains dots is also found by its own
    name.
    """
    if path in tags:
        return True, tags[path]
    end = path.find(".")
    while end >= 0:
        head = path[:end]
        inner = tags.get(head)
        if isinstance(inner, Mapping):
            found, value = value_at(inner, path[len(head) + 1 :])
            if found:
                return True, value
        end = path.find(".", end + 1)
    return False, None


def cut_tags(tags: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The part of the tags at these paths (keys joined by dots), nested as it was; arrays keep their objects."""
    cut: dict[str, Any] = {}
    for key, value in tags.items():
        rests = [path.removeprefix(f"{key}.") for path in paths if path.startswith(f"{key}.")]
        if key in paths:
            cut[key] = value
        elif rests:
            inner = _cut_value(value, rests)
            if inner:
                cut[key] = inner
    return cut


def _cut_value(value: Any, paths: Sequence[str]) -> Any:
    if isinstance(value, Mapping):
        return cut_tags(value, paths)
    if isinstance(value, list):
        return [each for each in (_cut_value(each, paths) for each in value) if each]
    return None


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value) if abs(value) < 2**63 else value
    if isinstance(value, Mapping):
        return {key: _canonical(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_canonical(each) for each in value]
    return value
