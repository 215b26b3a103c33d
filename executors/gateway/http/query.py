"""Reads the query string of a URL: each name is known and given once, or the request is refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from fastapi import Request

from executors.errors import VisualSearchError
from executors.exact_json import InvalidJsonError, RepeatedKeyError, read_json
from executors.gateway.http.paths import decoded

# Values of these are text as they stand; those of the lists are divided by commas; all others are JSON.
_TEXTS: Final = frozenset({"after", "collection", "group_by", "like"})
_LISTS: Final = frozenset({"fields", "with"})


def query_values(request: Request, known: Collection[str] | None = None) -> dict[str, str]:
    """The names and values of a query string.

    Args:
        known: names that may stand in it; None for any. A name without a meaning is refused: who wrote it meant something.

    Raises:
        VisualSearchError: `invalid_parameter` for what is unknown, stands twice, or is not UTF-8.
    """
    values: dict[str, str] = {}
    for part in request.scope["query_string"].decode("latin-1").split("&"):
        if not part:
            continue
        name, _, value = (decoded(each.replace("+", " "), "the query's") for each in part.partition("="))
        if known is not None and name not in known:
            others = f"known: {', '.join(known)}" if known else "none is known here"
            raise VisualSearchError("invalid_parameter", f"{name[:200]}: unknown parameter ({others})")
        if name in values:
            raise VisualSearchError("invalid_parameter", f"{name[:200]}: stands twice in the query string")
        values[name] = value
    return values


def as_parameters(values: Mapping[str, str]) -> dict[str, Any]:
    """What a JSON body would have as `parameters`; what is not JSON stays text, which the check of parameters refuses.

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
