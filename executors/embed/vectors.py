"""Checks vectors from any source, and scales them to unit length."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError

# Rounding a unit vector to float32 changes its length by at most 2^-24. A vector that near to 1 is left unchanged, so
# that a vector that was returned to a client and comes back stays the same bit for bit.
_UNIT_TOLERANCE: Final = 1e-7


def check_vectors(vectors: Any, expected_rows: int, dimension: int) -> list[NDArray[np.float32] | VisualSearchError]:
    """Check the vectors that a backend returned.

    Args:
        vectors: should be expected_rows x dimension float32.
        expected_rows: how many pictures the backend was given.
        dimension: D of the model.

    Returns:
        For each row a unit vector (D float32), or the error `embedding_failed` if it is not finite or is zero.

    Raises:
        VisualSearchError: `embedding_failed`, when shape or dtype are wrong and no row can be trusted.
    """
    expected = (expected_rows, dimension)
    if not isinstance(vectors, np.ndarray) or vectors.shape != expected or vectors.dtype != np.float32:
        got = (
            f"{vectors.dtype} {list(vectors.shape)}"
            if isinstance(vectors, np.ndarray)
            else f"a {type(vectors).__name__}"
        )
        message = f"the model returned {got}, expected float32 {list(expected)}"
        raise VisualSearchError("embedding_failed", message, expected=list(expected), got=got)
    units, faults = _to_unit(vectors)
    return [
        VisualSearchError("embedding_failed", f"the model returned a vector that {fault}") if fault else unit
        for unit, fault in zip(units, faults, strict=True)
    ]


def check_embedding(value: Any, dimension: int | None) -> NDArray[np.float32]:
    """Check a vector that a client gave.

    Args:
        value: a sequence or array of D numbers.
        dimension: the required D, or None if it is not known.

    Returns:
        D float32 of unit length; a vector that had unit length already is returned with the same values.

    Raises:
        VisualSearchError: `invalid_embedding`, or `dimension_mismatch` with `expected` and `got`.
    """
    vector = _numbers(value)
    if vector.ndim != 1 or vector.size == 0:
        message = f"`embedding` must be one list of numbers, not an array of the shape {list(vector.shape)}"
        raise VisualSearchError("invalid_embedding", message, shape=list(vector.shape))
    if dimension is not None and vector.size != dimension:
        message = f"`embedding` has {vector.size} numbers, expected {dimension}"
        raise VisualSearchError("dimension_mismatch", message, expected=dimension, got=vector.size)
    (unit,), (fault,) = _to_unit(vector[None])
    if fault:
        raise VisualSearchError("invalid_embedding", f"`embedding` {fault}")
    return unit


def _numbers(value: Any) -> NDArray[np.float64]:
    """The numbers in double precision; text, booleans, objects, complex numbers and ragged lists are refused."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        array = np.empty(0, dtype=object)
    if array.dtype.kind not in "iuf":
        raise VisualSearchError("invalid_embedding", "`embedding` must be a list of numbers")
    return np.asarray(array, np.float64)


def _to_unit(vectors: NDArray[Any]) -> tuple[list[NDArray[np.float32]], list[str]]:
    """Rows (N x D) scaled to unit length in double precision, and for each row its fault, or ``""``.

    Each row is divided by its largest number first, so that the squares of very large or very small numbers neither
    overflow nor vanish.
    """
    finite = np.isfinite(vectors).all(axis=1)
    exact = np.where(finite[:, None], vectors, 0).astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    zero = largest[:, 0] == 0
    scaled = exact / np.where(zero[:, None], 1, largest)
    scaled_length = np.linalg.norm(scaled, axis=1, keepdims=True)
    length = scaled_length * largest
    units = scaled / np.where(zero[:, None], 1, scaled_length)
    with np.errstate(under="ignore"):  # numbers too small for float32 beside the largest one become zero
        rounded = np.where(np.abs(length - 1) <= _UNIT_TOLERANCE, exact, units).astype(np.float32)
    faults = [
        "holds NaN or infinity" if not ok else "is zero" if none else "" for ok, none in zip(finite, zero, strict=True)
    ]
    return list(rounded), faults
