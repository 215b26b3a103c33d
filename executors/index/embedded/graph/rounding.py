"""Unit vectors, and the largest error of a score of rounded ones."""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.cosine import exact_squares, float32_error
from executors.index.embedded.graph.native import Precision

_HALF_ROUNDOFF: Final = 2.0**-11
_HALF_SMALLEST_ERROR: Final = 2.0**-25
# As in embed/vectors.py: rounding moves the length by at most 2^-24.
_UNIT_TOLERANCE: Final = 1e-7


def score_error(dimension: int, precision: Precision) -> float:
    """The largest difference between a score of the graph and the cosine of the two vectors.

    Single: the bound of float32 summation, `float32_error` (Higham, section 3.1). Half: rounding to the nearest half
    changes a component x by at most 2^-11 |x|, or by 2^-25 where it is subnormal (IEEE 754 binary16: 11 significant
    bits, smallest spacing 2^-24). With unit vectors q and x, |sum q_i e_i| <= 2^-11 sum |q_i x_i| + 2^-25 sum |q_i| <=
    2^-11 + 2^-25 sqrt(D) by Cauchy and Schwarz. The rounded vector is longer by at most that much, and so is its error
    of summation.
    """
    summation = float32_error(dimension)
    if precision == "single":
        return summation
    rounding = _HALF_ROUNDOFF + _HALF_SMALLEST_ERROR * sqrt(dimension)
    return (rounding + summation) * (1.0 + rounding + summation)


def unit_vectors(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """Scale N x D float32 vectors to unit length: the exact result, rounded to float32.

    Raises:
        ValueError: another shape, or a vector that has no direction.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ValueError(f"vectors must be N x {dimension}, not {vectors.shape}")
    squares = exact_squares(vectors)
    if not np.all(np.isfinite(squares) & (squares > 0.0)):
        raise ValueError("a vector must be finite and not zero")
    lengths = np.sqrt(squares)
    # A unit vector that was rounded to float32 is left unchanged, so that it is returned bit for bit. `float32_error`
    # allows for that.
    lengths[np.abs(lengths - 1.0) <= _UNIT_TOLERANCE] = 1.0
    return (vectors / lengths[:, np.newaxis]).astype(np.float32)
