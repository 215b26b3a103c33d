"""Scores of OpenSearch and cosines, and where its list of hits begins if there is an upper bound. Pure."""

from __future__ import annotations

import struct
from bisect import bisect_right
from typing import Final

from executors.index.opensearch.search.queries import Query

_BITS_OF_ONE: Final = 0x3F800000


def below(ceiling: float | None) -> Query:
    """Where OpenSearch begins its list: behind all hits with a larger cosine than the ceiling."""
    return {} if ceiling is None else {"search_after": [largest_score(ceiling), ""]}


def largest_score(ceiling: float) -> float:
    """Return the largest score of OpenSearch, which is a float32, whose cosine is at most `ceiling` (at least -1)."""
    # Positive floats have the order of their bits.
    scores = range(_BITS_OF_ONE + 1)
    return _score(bisect_right(scores, ceiling, key=lambda bits: cosine_of(_score(bits))) - 1)


def _score(bits: int) -> float:
    """Return the float32 of these bits."""
    score: float = struct.unpack("<f", struct.pack("<I", bits))[0]
    return score


def cosine_of(score: float) -> float:
    """Return the cosine that a score of OpenSearch stands for: its score is (1 + cosine) / 2, a float32."""
    return min(1.0, max(-1.0, 2.0 * score - 1.0))
