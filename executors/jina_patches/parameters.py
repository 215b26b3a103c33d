"""Parameters of Jina's clients: checked before a request is begun, where an error is still the caller's to catch.

Jina turns them into a message in the middle of a gRPC call. What it can't turn (`np.int64(3)`, text that is not Unicode)
ends that call with `asyncio.CancelledError`: a BaseException, which ends the caller's program. What a message can carry
goes to the service, which has a code for each fault.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import BaseModel

from executors.document_values import is_text


def check_parameters() -> None:
    """Have the clients of this process take numpy's values, and raise a ValueError for what can't be sent.

    Without Jina there is nothing to do; it is not imported for this.
    """
    module = sys.modules.get("jina.clients.base")
    if module is None or hasattr(module.BaseClient, "_get_unchecked_requests"):
        return
    unchecked = module.BaseClient._get_requests

    def checked(self: Any, inputs: Any, **options: Any) -> Any:
        if options.get("parameters"):
            options["parameters"] = plain_parameters(options["parameters"])
        return unchecked(self, inputs=inputs, **options)

    module.BaseClient._get_unchecked_requests = unchecked
    module.BaseClient._get_requests = checked


def plain_parameters(given: Any) -> dict[str, Any]:
    """Parameters as values that a message can carry: numpy's numbers, booleans and texts become Python's.

    Raises:
        ValueError: naming the place of what no message can carry.
    """
    if isinstance(given, BaseModel):  # Jina takes them as well
        given = dict(given)
    if not isinstance(given, Mapping):
        raise ValueError(f"`parameters` must be a dict, not {type(given).__name__}")
    return {_key(key, "parameters"): _plain(value, f"parameters.{key}") for key, value in given.items()}


def _plain(value: Any, place: str) -> Any:
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        # Of these, numpy would make integers without their unit.
        value = value if value.dtype.kind in "mMV" else value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_text(value):
            raise _refusal(place, "the text is not valid Unicode")
        return value
    if isinstance(value, int | float | np.floating):
        try:
            float(value)
        except OverflowError:
            raise _refusal(place, "the number is too large") from None
        return float(value) if isinstance(value, np.floating) else value
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(each, f"{place}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each, f"{place}[{n}]") for n, each in enumerate(value)]
    raise _refusal(place, f"{type(value).__name__} is not a JSON value")


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str) or not is_text(key):
        raise _refusal(place, f"the key {key!r} is not a text")
    return str(key)


def _refusal(place: str, reason: str) -> ValueError:
    return ValueError(f"{place.encode(errors='backslashreplace').decode()[:200]}: {reason}")
