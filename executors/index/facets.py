"""Facets: how often each value of a tag occurs among the documents that match a filter. Pure.

A facet leaves the conditions on its own path out of the filter, so that it also counts the values that a person could
choose instead. Those are the conditions that are joined by AND at the top of the filter and touch no other path. A
document counts once for each different value that it has at the path, where values are the same as for filters (1 and
1.0 are). So a filter on one of the values, with the rest of the filter, finds as many documents as were counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.index.filters import And, Exists, Filter, In, Not, Or, Range, Scalar, flatten, kind_of

MAX_DISTINCT: Final = 100_000
"""How many different values of one path are counted."""
MAX_CHARACTERS: Final = 16_000_000
"""How long the counted texts of one path may be together."""
_KINDS: Final = {"null": 0, "boolean": 1, "number": 2, "string": 3}


def without_path(where: Filter | None, path: str) -> Filter | None:
    """Return the filter without its conditions on this path alone; None if nothing is left."""
    if where is None:
        return None
    kept = tuple(part for part in _joined(where) if _paths(part) != {path})
    if not kept:
        return None
    return kept[0] if len(kept) == 1 else And(kept)


def plain_value(value: Scalar) -> Scalar:
    """Return a value in the one form that all equal values share: a whole number is an integer."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return value


def order_of(value: Scalar) -> tuple[int, Any]:
    """Return the place of a value among those that are counted as often: null, booleans, numbers, texts."""
    return _KINDS[kind_of(value)], 0 if value is None else value


def too_many_values(path: str, most: int = MAX_DISTINCT) -> VisualSearchError:
    """Return the error for a path with more different values than are counted."""
    return VisualSearchError(
        "too_many_values",
        f"{path!r} has more than {most:,} different values, or very long ones: a facet can't count them",
        path=path,
        limit=most,
    )


class Tally:
    """Counts the values of one path.

    Args:
        path: the path of the tag.
        most: how many different values it may have.
    """

    def __init__(self, path: str, most: int = MAX_DISTINCT) -> None:
        self._path = path
        self._most = most
        self._counts: dict[tuple[str, Scalar], int] = {}
        self._characters = 0

    def add(self, value: Scalar, documents: int) -> None:
        """Count a value that so many more documents have.

        Raises:
            VisualSearchError: `too_many_values`.
        """
        value = plain_value(value)
        # Python treats 1 and True as equal.
        key = kind_of(value), value
        known = self._counts.get(key)
        if known is None:
            self._characters += len(value) if isinstance(value, str) else 0
            if len(self._counts) >= self._most or self._characters > MAX_CHARACTERS:
                raise too_many_values(self._path, self._most)
        self._counts[key] = (known or 0) + documents

    def add_tags(self, tags: Mapping[str, Any]) -> None:
        """Count the different values of one document.

        Raises:
            VisualSearchError: `too_many_values`.
        """
        leaves = flatten(tags).get(self._path, ())
        values = {(kind_of(leaf.value), plain_value(leaf.value)) for leaf in leaves if not leaf.empty}
        for _, value in values:
            self.add(value, 1)

    def __len__(self) -> int:
        return len(self._counts)

    def pairs(self) -> list[tuple[Scalar, int]]:
        """Return each value with its count, in no order."""
        return [(value, count) for (_, value), count in self._counts.items()]


def _joined(where: Filter) -> Iterator[Filter]:
    """The conditions that all have to hold."""
    if isinstance(where, And):
        for part in where.parts:
            yield from _joined(part)
    else:
        yield where


def _paths(where: Filter) -> set[str]:
    match where:
        case And(parts) | Or(parts):
            return {path for part in parts for path in _paths(part)}
        case Not(part):
            return _paths(part)
        case In(path) | Exists(path):
            return {path}
        case Range():
            return {where.path}
