"""Filters answered from the tag index: the rows of a collection whose tags match, exactly those of `filters.matches`.

The index alone answers nearly everything. Where it can't (text that was cut, documents that are not in it), it gives
candidates, and their tags are read and tested. The same is done if few candidates are left and the other parts of the
filter have many rows, because reading tags is cheaper then.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from executors.index.embedded.disk.database import in_batches
from executors.index.embedded.tags.postings import (
    Posting,
    count_postings,
    fetch_rows,
    postings_of,
    several_values,
    unindexed,
)
from executors.index.embedded.tags.rowsets import Rows, as_rowset, difference, intersection, union
from executors.index.encoding import decode_tags
from executors.index.filters import And, Condition, Filter, Not, Or, Range, kind_of, matches

# A part of a filter with more entries than this always counts as large.
_LARGE: Final = 16_384
# Testing the tags of one document takes as long as reading about this many entries.
_ENTRIES_PER_CHECK: Final = 64
_MOST_CHECKED: Final = 4_096


def matching_rows(
    connection: sqlite3.Connection, collection: int, where: Filter, everything: Callable[[], Rows] | None = None
) -> Rows:
    """The rows of the documents that match, as the transaction of the connection sees them.

    Args:
        connection: inside a transaction.
        collection: the collection's number.
        where: from `parse_filter`.
        everything: returns all rows of the collection, if the caller has them ready.
    """
    return _Query(connection, collection, everything).matching(where)


def all_rows(connection: sqlite3.Connection, collection: int) -> Rows:
    """The rows of all documents of a collection."""
    return fetch_rows(connection, "documents INDEXED BY documents_by_collection WHERE collection = ?", (collection,))


def rows_that_match(connection: sqlite3.Connection, collection: int, rows: Rows, where: Filter) -> Rows:
    """The documents of the collection that match, among these rows, by testing their tags."""
    query = "SELECT row, tags FROM documents WHERE row IN ({marks}) AND collection = ?1"
    asked = in_batches(connection, query, rows.tolist(), collection)
    return as_rowset(np.array([row for row, tags in asked if matches(where, decode_tags(tags))], dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Between:
    """Two bounds on one path. Most paths have one value in each document, and that value has to lie between them."""

    low: Range
    high: Range

    @property
    def merged(self) -> Range:
        return Range(self.low.path, self.low.low, self.high.high, self.low.low_inclusive, self.high.high_inclusive)


_Part: TypeAlias = Filter | _Between


class _Query:
    """One filter on one collection."""

    def __init__(
        self, connection: sqlite3.Connection, collection: int, everything: Callable[[], Rows] | None = None
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._everything = everything or (lambda: all_rows(connection, collection))

    def matching(self, where: Filter) -> Rows:
        rows = self._rows(where)
        # The index has no entries for unindexed documents, which `Not` would take for a match.
        asked = unindexed(self._connection, self._collection)
        if not len(asked):
            return rows
        return union([difference(rows, asked), self._check(asked, where)])

    def _rows(self, part: _Part) -> Rows:
        match part:
            case And(parts):
                return self._and(_paired(parts))
            case Or(parts):
                return union([self._rows(each) for each in parts])
            case Not(inner):
                return self._everything_but(inner)
            case _Between():
                return self._between(part)
            case _:
                return self._condition(part)

    def _condition(self, condition: Condition) -> Rows:
        found = [self._fetch(posting, condition) for posting in self._postings(condition)]
        return union(found)

    def _fetch(self, posting: Posting, condition: Filter) -> Rows:
        rows = posting.rows(self._connection)
        return rows if posting.exact else self._check(rows, condition)

    def _everything_but(self, inner: Filter) -> Rows:
        if isinstance(inner, Not):
            return self._rows(inner.part)
        return difference(self._everything(), self._rows(inner))

    def _between(self, part: _Between) -> Rows:
        several = several_values(self._connection, self._collection, part.low.path)
        if count_postings(self._connection, several, _MOST_CHECKED) < _MOST_CHECKED:
            asked = union([each.rows(self._connection) for each in several])
            return union([self._rows(part.merged), self._check(asked, And((part.low, part.high)))])
        return intersection(self._rows(part.low), self._rows(part.high))

    def _and(self, parts: Sequence[_Part]) -> Rows:
        """Evaluate the part with the fewest rows first; the others narrow it down, or the tags of the few remaining
        rows are tested.
        """
        sizes = {id(part): self._at_most(part, _LARGE) for part in parts}
        waiting = sorted(parts, key=lambda part: sizes[id(part)])
        rows = self._everything() if not waiting or isinstance(waiting[0], Not) else self._rows(waiting.pop(0))
        while waiting and len(rows):
            if self._is_checking_cheaper(len(rows), waiting):
                return self._check(rows, And(tuple(_unpaired(waiting))))
            part = waiting.pop(0)
            narrow, other = (difference, part.part) if isinstance(part, Not) else (intersection, part)
            rows = narrow(rows, self._rows(other))
        return rows

    def _is_checking_cheaper(self, rows: int, waiting: Sequence[_Part]) -> bool:
        if rows > _MOST_CHECKED:
            return False
        limit = rows * _ENTRIES_PER_CHECK
        entries = 0
        for part in waiting:
            entries += self._entries_read(part, limit - entries)
            if entries >= limit:
                return True
        return False

    def _at_most(self, part: _Part, limit: int) -> int:
        """An upper bound on the rows of the part, at most `limit`; negations sort last."""
        match part:
            case And(parts):
                return min((self._at_most(each, limit) for each in parts), default=limit)
            case Or():
                return self._entries_read(part, limit)
            case Not():
                return limit + 1
            case _:
                return self._entries_read(part, limit)

    def _entries_read(self, part: _Part, limit: int) -> int:
        """How many entries of the index are read for the part, counted up to `limit`."""
        match part:
            case And(parts) | Or(parts):
                total = 0
                for each in parts:
                    total += self._entries_read(each, limit - total)
                    if total >= limit:
                        return limit
                return total
            case Not(inner):
                return self._entries_read(inner, limit)
            case _Between():
                several = several_values(self._connection, self._collection, part.low.path)
                return count_postings(self._connection, [*self._postings(part.merged), *several], limit)
            case _:
                return count_postings(self._connection, self._postings(part), limit)

    def _postings(self, condition: Condition) -> list[Posting]:
        return postings_of(self._connection, self._collection, condition)

    def _check(self, rows: Rows, where: Filter) -> Rows:
        return rows_that_match(self._connection, self._collection, rows, where)


def _paired(parts: Sequence[Filter]) -> list[_Part]:
    """The parts of an `And`, with nested `And`s flattened, and two bounds on one path as one."""
    paired: list[_Part] = []
    lows: dict[tuple[str, str], Range] = {}
    highs: dict[tuple[str, str], Range] = {}
    for part in _flat(parts):
        match part:
            case Range(path, low, None) if low is not None and (path, kind_of(low)) not in lows:
                lows[path, kind_of(low)] = part
            case Range(path, None, high) if high is not None and (path, kind_of(high)) not in highs:
                highs[path, kind_of(high)] = part
            case _:
                paired.append(part)
    for key in {**lows, **highs}:
        bounds = [each[key] for each in (lows, highs) if key in each]
        paired.extend([_Between(*bounds)] if len(bounds) == 2 else bounds)
    return paired


def _flat(parts: Sequence[Filter]) -> Iterator[Filter]:
    for part in parts:
        if isinstance(part, And):
            yield from _flat(part.parts)
        else:
            yield part


def _unpaired(parts: Sequence[_Part]) -> Iterator[Filter]:
    for part in parts:
        if isinstance(part, _Between):
            yield part.low
            yield part.high
        else:
            yield part
