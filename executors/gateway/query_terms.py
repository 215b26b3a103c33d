"""The terms of a search that combines several queries into one: what a term may be, and the sum of their vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints, WithJsonSchema, model_validator

from executors.document_values import MAX_ID_BYTES
from executors.errors import VisualSearchError
from executors.index.records import MAX_DIMENSION

MAX_TERMS: Final = 100
MAX_WEIGHT: Final = 1.5
# The same picture gives vectors that differ by rounding; a sum that is no longer than this share of its parts is noise.
_NOISE: Final = 1e-5
_KINDS: Final = ("like", "text", "embedding", "data")


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if not 0 < abs(value) <= MAX_WEIGHT:  # false for NaN, too
        raise ValueError(f"must be a number from -{MAX_WEIGHT} to {MAX_WEIGHT}, and not 0")
    return float(value)


def _numbers(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not set(map(type, value)) <= {int, float}:
        raise ValueError("must be a list of numbers")
    if not 1 <= len(value) <= MAX_DIMENSION:
        raise ValueError(f"must have 1 to {MAX_DIMENSION} numbers")
    try:
        return np.asarray(value, dtype=np.float64)
    except OverflowError:
        raise ValueError("has a number that is too large") from None


def _terms(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= MAX_TERMS:
        raise ValueError(f"must be a list of 1 to {MAX_TERMS} terms")
    return value


def _weights(value: Any) -> Any:
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of numbers, one for each document")
    return value


def _position(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer() or value < 0:
        raise ValueError("must be the position of a document in `data`, from 0")
    return int(value)


_WEIGHT_SCHEMA: Final = {
    "type": "number",
    "minimum": -MAX_WEIGHT,
    "maximum": MAX_WEIGHT,
    "not": {"const": 0},
    "default": 1,
    "description": "how much the term counts; below 0, the search leads away from it",
}
_TERM_SCHEMA: Final = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "like": {"type": "string", "minLength": 1, "description": "the id of an indexed document"},
        "text": {"type": "string", "minLength": 1},
        "embedding": {"type": "array", "items": {"type": "number"}, "minItems": 1},
        "data": {"type": "integer", "minimum": 0, "description": "the position of a document of `data`, from 0"},
        "weight": _WEIGHT_SCHEMA,
    },
    "oneOf": [{"required": [name]} for name in _KINDS],
}
_TERMS_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": _TERM_SCHEMA,
    "minItems": 1,
    "maxItems": MAX_TERMS,
}
_WEIGHTS_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "items": {key: value for key, value in _WEIGHT_SCHEMA.items() if key != "default"},
    "minItems": 1,
}

_Weight = Annotated[float, BeforeValidator(_weight)]
Weights = Annotated[tuple[_Weight, ...], BeforeValidator(_weights), WithJsonSchema(_WEIGHTS_SCHEMA)]


class QueryTerm(BaseModel):
    """One term: exactly one of `like`, `text`, `embedding` and `data`, and its weight."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    like: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_BYTES)] | None = None
    text: str | None = None
    embedding: Annotated[NDArray[np.float64], BeforeValidator(_numbers), WithJsonSchema({})] | None = None
    data: Annotated[int, BeforeValidator(_position)] | None = None
    weight: _Weight = 1.0

    @model_validator(mode="after")
    def _one_kind(self) -> QueryTerm:
        given = [name for name in _KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"not {' and '.join(given)}" if given else "it has none"
            raise ValueError(f"needs exactly one of {', '.join(_KINDS)}; {found}")
        return self


Terms = Annotated[tuple[QueryTerm, ...], BeforeValidator(_terms), WithJsonSchema(_TERMS_SCHEMA)]


def check_positions(terms: Sequence[QueryTerm], documents: int) -> None:
    """Check that the terms name every document of the request, and no other.

    Raises:
        VisualSearchError: `invalid_parameter`.
    """
    for n, term in enumerate(terms):
        if term.data is not None and term.data >= documents:
            raise VisualSearchError(
                "invalid_parameter", f"terms.{n}.data: is {term.data}, but the request has {documents} documents"
            )
    unused = sorted(set(range(documents)) - {term.data for term in terms})
    if unused:
        raise VisualSearchError("invalid_parameter", f"data.{unused[0]}: no term names this document")


def weighted_sum(vectors: Sequence[NDArray[Any]], weights: Sequence[float]) -> NDArray[np.float32]:
    """Return the sum of the unit vectors by their weights, scaled to length 1: D float32.

    Args:
        vectors: of D finite numbers each, not zero; their lengths don't count.
        weights: one for each vector.

    Raises:
        VisualSearchError: `zero_query` if they cancel each other.
    """
    units = np.stack([np.asarray(each, dtype=np.float64) for each in vectors])
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    total = np.asarray(weights, dtype=np.float64) @ units
    length = float(np.linalg.norm(total))
    if length <= _NOISE * math.fsum(map(abs, weights)):
        raise VisualSearchError("zero_query", "the weighted terms add up to the zero vector: they name no direction")
    return (total / length).astype(np.float32)
