"""Validation of a graph's arrays: faiss does not check the numbers in them, and would read memory at any address they
give.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.native import Arrays


def problem_of(arrays: Arrays, count: int, entry_point: int, max_level: int, links: NDArray[np.int64]) -> str | None:
    """The fault in the arrays of a graph of `count` vectors that could let a walk leave them; None if there is none.

    Args:
        links: the number of links of a vector that is linked on 0, 1, 2, ... levels.
    """
    if not count:
        return (
            None if (entry_point, max_level) == (-1, -1) and not arrays.neighbors.size else "an empty graph with links"
        )
    if arrays.levels.min() < 1 or arrays.levels.max() >= links.size:
        return "a level out of range"
    offsets = np.zeros(count + 1, dtype=np.uint64)
    np.cumsum(links[arrays.levels], out=offsets[1:], dtype=np.uint64)
    if not np.array_equal(offsets, arrays.offsets) or int(offsets[-1]) != arrays.neighbors.size:
        return "links that don't begin where they should"
    if arrays.neighbors.min() < -1 or arrays.neighbors.max() >= count:
        return "a link to a slot that does not exist"
    if not 0 <= entry_point < count or max_level != int(arrays.levels[entry_point]) - 1:
        return "an entry point that does not exist"
    return None
