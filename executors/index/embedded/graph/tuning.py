"""Search effort, derived from measurements.

At 100,000 x 512 (1000 clusters of uneven sizes, half precision, M 16, candidates ranked again exactly) a walk now and
then misses the whole cluster: with ef_construction 128, ef 64 finds 98.1 % of the true best ten and 256 99.4 %; with
200, which takes 15 % longer to build, 64 finds 98.9 %, 96 99.4 % and 256 99.95 %. In even clusters 64 finds all; at
1,000,000 it takes 256 for 99.1 %. With a filter that matches rows at random, 98.5 % takes ef 32 at a half of the rows,
256 at a tenth, 2048 at 3 %; that is about the power 1.25 of the share. The share *near the query* decides: if a filter
excludes the query's own cluster, ef 256 finds 90 % at a half and 54 % at a twentieth of the rows.
"""

from __future__ import annotations

from math import ceil
from typing import Final

LEAST_EF: Final = 96
MOST_EF: Final = 4096

_MEASURED_COUNT: Final = 100_000
_GROWTH: Final = 0.45
_EXPONENT: Final = 1.25
_OF_UNFILTERED: Final = 0.4
_EXACT_SHARE: Final = 0.03
_EXACT_ROWS: Final = 1000

# Microseconds at 512 dimensions on one core. Only their ratios matter, and these depend little on the dimension or the
# machine.
_STEP_US: Final = 3.6
_SELECTED_ROW_US: Final = 0.2
_NEXT_ROW_US: Final = 0.06
_SKIPPED_ROW_US: Final = 0.0025


def default_ef(count: int) -> int:
    """How many candidates a walk keeps in a graph of `count` vectors: 96 up to 100,000, 270 at 1,000,000."""
    grown = LEAST_EF * (max(count, 1) / _MEASURED_COUNT) ** _GROWTH
    return min(MOST_EF, max(LEAST_EF, int(grown)))


def filtered_ef(ef: int, count: int, matching: int) -> int:
    """How many candidates a walk with a filter must keep to find as much as `ef` finds without it, if `matching` of
    `count` may be found.

    It grows faster than the share shrinks, since matching slots lie more sparsely than the links lead.
    """
    share = max(1, matching) / max(1, count)
    return ef if share >= 1.0 else max(ef, ceil(_OF_UNFILTERED * ef * share**-_EXPONENT))


def use_exact(count: int, matching: int) -> bool:
    """Whether so few of `count` match that comparing them all is both faster and better than any walk."""
    return matching <= max(_EXACT_ROWS, _EXACT_SHARE * count)


def walk_us(ef: int) -> float:
    """The estimated time of a walk in microseconds."""
    return _STEP_US * ef


def scan_us(count: int, matching: int) -> float:
    """The estimated time in microseconds to compare all matching rows: rows far apart are read more slowly from memory
    than neighbours.
    """
    return min(_SELECTED_ROW_US * matching, _NEXT_ROW_US * count) + _SKIPPED_ROW_US * count
