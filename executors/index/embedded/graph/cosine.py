"""Cosines: exact ones in float64, and the error bound of float32 ones.

For unit vectors of D float32, every order of summation, fused or not, keeps the float32 dot product within gamma(D) =
D*u / (1 - D*u), u = 2^-24, of the true one (N. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition,
section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

_UNIT_ROUNDOFF: Final = 2.0**-24
# Further rounding errors: the normalisation of the query and of the row, and those of float64, which are far smaller.
_OTHER_ROUNDINGS: Final = 8
_PRODUCTS_AT_ONCE: Final = 1 << 16


def float32_error(dimension: int) -> float:
    """The largest difference between a float32 score of two vectors of `dimension` numbers and their cosine."""
    terms = (dimension + _OTHER_ROUNDINGS) * _UNIT_ROUNDOFF
    return terms / (1.0 - terms)


def exact_squares(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """The squared length of each row of N x D float32, in float64; `exact_dots` of a row with itself gives the same
    number.
    """
    return _row_sums(vectors, lambda products: np.multiply(products, products, out=products))


def exact_dots(vectors: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """The dot product of each row of N x D float32 with one vector, in float64.

    The product of two float32 is exact in float64, and numpy adds the D products of a row pairwise, each row by itself:
    the result depends on nothing but the two vectors, neither on the other rows nor on the machine's BLAS.
    """
    factor = other.astype(np.float64)
    return _row_sums(vectors, lambda products: np.multiply(products, factor, out=products))


def _row_sums(vectors: NDArray[np.float32], multiply: Callable[[NDArray[np.float64]], object]) -> NDArray[np.float64]:
    rows, dimension = vectors.shape
    sums = np.empty(rows, dtype=np.float64)
    # A small buffer that is reused stays in the processor's cache: eight times as fast as one large product.
    step = max(1, _PRODUCTS_AT_ONCE // max(1, dimension))
    buffer = np.empty((min(step, rows), dimension), dtype=np.float64)
    for start in range(0, rows, step):
        part = vectors[start : start + step]
        products = buffer[: len(part)]
        np.copyto(products, part)
        multiply(products)
        np.add.reduce(products, axis=1, out=sums[start : start + len(part)])
    return sums
