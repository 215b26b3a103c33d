"""The rules for the parameters of a request, in the programs that send them. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from executors.document_values import is_text
from executors.errors import VisualSearchError


def plain_parameters(given: Any, *, finite: bool = True) -> dict[str, Any]:
    """Return parameters as plain JSON values: numpy's numbers, booleans, texts and arrays become Python's.

    Args:
        given: the parameters of one request.
        finite: whether to refuse NaN and infinity. JSON would have null for them, which has another meaning in a filter.

    Raises:
        VisualSearchError: `invalid_parameter`; the message names the place of the value that can't be sent.
    """
    if not isinstance(given, Mapping):
        raise VisualSearchError("invalid_parameter", f"`parameters` must be a dict, not {type(given).__name__}")
    return {_key(key, "parameters"): _plain(value, f"parameters.{key}", finite) for key, value in given.items()}


def _plain(value: Any, place: str, finite: bool) -> Any:
    # numpy would turn times into integers without their unit.
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind not in "mMV":
        value = value.tolist()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value) if is_text(value) else _refuse(place, "the text is not valid Unicode")
    if isinstance(value, int | float | np.floating):
        return _number(value, place, finite)
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(each, f"{place}.{key}", finite) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{place}[{n}]", finite) for n, each in enumerate(value)]
    return _refuse(place, f"{type(value).__name__} is not a JSON value")


def _number(value: Any, place: str, finite: bool) -> int | float:
    try:
        nearest = float(value)
    except OverflowError:
        _refuse(place, "the number is too large")
    if finite and not math.isfinite(nearest):
        _refuse(place, f"{nearest} is not a finite number, and JSON has no other")
    if finite and isinstance(value, int) and not -(2**63) <= value < 2**63:
        _refuse(place, "the number is too large")
    return int(value) if isinstance(value, int) else nearest


def _key(key: Any, place: str) -> str:
    return str(key) if isinstance(key, str) and is_text(key) else _refuse(place, f"the key {key!r} is not a text")


def _refuse(place: str, reason: str) -> NoReturn:
    shown = place.encode(errors="backslashreplace").decode()[:200]
    raise VisualSearchError("invalid_parameter", f"{shown}: {reason}")
