"""Reads the query string of a URL. An unknown name, or one that is given twice, refuses the request."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from fastapi import Request

from executors.errors import VisualSearchError
from executors.exact_json import InvalidJsonError, RepeatedKeyError, read_json
from executors.gateway.http.paths import decoded

# The values of these are plain text; those of the lists are separated by commas; all others are JSON.
_TEXTS: Final = frozenset({"after", "collection", "group_by", "like"})
_LISTS: Final = frozenset({"fields", "with"})


def query_values(request: Request, known: Collection[str] | None = None) -> dict[str, str]:
    """Return the names and values of a query string.

    Args:
        known: the names that it may have; None for any. An unknown name is refused instead of ignored, because the caller
            expects an effect.

    Raises:
        VisualSearchError: `invalid_parameter` for a name that is unknown or given twice, and for text that is not UTF-8.
    """
    values: dict[str, str] = {}
    for part in request.scope["query_string"].decode("latin-1").split("&"):
        if not part:
            continue
        name, _, value = (decoded(each.replace("+", " "), "the query's") for each in part.partition("="))
        if known is not None and name not in known:
            others = f"known: {', '.join(known)}" if known else "this endpoint takes none"
            raise VisualSearchError("invalid_parameter", f"{name[:200]}: unknown parameter ({others})")
        if name in values:
            raise VisualSearchError("invalid_parameter", f"{name[:200]}: is twice in the query string")
        values[name] = value
    return values


def as_parameters(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the `parameters` that a JSON body would have. A value that is not JSON stays text, which their check refuses.

    Raises:
        VisualSearchError: `malformed_body` for JSON that names a key twice.
    """
    return {name: _typed(name, value) for name, value in values.items()}


def _typed(name: str, value: str) -> Any:
    if name in _TEXTS:
        return value
    if name in _LISTS:
        return [each for each in value.split(",") if each]
    try:
        return read_json(value)
    except RepeatedKeyError as error:
        raise VisualSearchError("malformed_body", f"{name} {error}") from None
    except InvalidJsonError:
        return value
