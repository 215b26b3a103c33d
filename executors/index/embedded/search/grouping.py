"""Grouped search, one best hit per group: it continues among the other documents until there are enough groups, or no
documents are left.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from executors.index.embedded.disk.database import in_batches
from executors.index.embedded.disk.reads import HitFields
from executors.index.embedded.search.exact import Best
from executors.index.embedded.tags.entries import LARGEST_INTEGER
from executors.index.embedded.tags.filter_cache import FilterCache
from executors.index.embedded.tags.postings import several_values, unindexed
from executors.index.embedded.tags.rowsets import Rows, as_rowset, difference, intersection, union
from executors.index.filters import And, Exists, Filter, In
from executors.index.tag_values import value_at, value_key

_FIRST: Final = 4
_WIDER: Final = 4
BY_PARENT: Final = "parent"
_OF_PARENTS: Final = (
    "SELECT row FROM documents WHERE collection = ?1 AND parent IN ({marks})"
    " UNION ALL SELECT row FROM documents WHERE collection = ?1 AND id IN ({marks}) AND parent IS NULL"
)


class _Group(NamedTuple):
    """A group's best document (score, id, row), and the group's value."""

    best: tuple[float, str, int]
    value: Any


def best_of_groups(
    path: str,
    limit: int,
    available: int,
    rank: Callable[[Rows | None, int], Best],
    fields_of: Callable[[Sequence[int]], dict[int, HitFields]],
    remaining: Callable[[Rows | None, Sequence[int], Sequence[Any]], Rows],
) -> tuple[Best, list[Any]]:
    """The best hit of each of the `limit` best groups, and the groups' values.

    Args:
        path: a tag's path, or `parent`.
        available: how many documents there are to choose from.
        rank: returns the best documents among some rows (None: all), best first, at most the given number.
        fields_of: returns the fields of documents, by row.
        remaining: see `GroupRows.remaining`.
    """
    groups: dict[str, _Group] = {}
    rows: Rows | None = None
    wanted = min(available, limit * _FIRST)
    while True:
        best = rank(rows, wanted)
        fresh = _add_groups(groups, path, best, fields_of(best.rows))
        # There were fewer hits than asked for, so no other document is within the bounds.
        if len(groups) >= limit or len(best.rows) < wanted or wanted >= available:
            break
        rows = remaining(rows, best.rows, fresh)
        available = len(rows)
        if not available:
            break
        wanted = min(available, wanted if fresh else wanted * _WIDER)
    found = Best.of((group.best for group in groups.values()), limit)
    values = {group.best[2]: group.value for group in groups.values()}
    return found, [values[row] for row in found.rows]


def _add_groups(groups: dict[str, _Group], path: str, best: Best, fields: dict[int, HitFields]) -> list[Any]:
    """Enter each new group with its best hit, and return the new groups' values."""
    fresh = []
    for row, document_id, score in zip(best.rows, best.ids, best.scores, strict=True):
        found, value = _group_of(path, document_id, fields[row])
        key = value_key(value)
        if found and key not in groups:
            groups[key] = _Group((score, document_id, row), value)
            fresh.append(value)
    return fresh


def _group_of(path: str, document_id: str, fields: HitFields) -> tuple[bool, Any]:
    if path == BY_PARENT:
        # A picture is in one group with the documents derived from it.
        return True, document_id if fields.parent is None else fields.parent
    return value_at(fields.tags, path)


@dataclass(frozen=True, slots=True)
class GroupRows:
    """The groups of one path in one collection, as of one transaction.

    Attributes:
        connection: inside the transaction.
        sequence: the last transaction that it sees.
        collection: the collection's number.
        path: a tag's path, or `parent`.
    """

    connection: sqlite3.Connection
    filters: FilterCache
    sequence: int
    collection: int
    path: str

    def remaining(self, rows: Rows | None, seen: Sequence[int], groups: Sequence[Any]) -> Rows:
        """The rows that may be in another group.

        Args:
            rows: the rows to choose from, ascending; None: all.
            seen: rows that were read already.
            groups: the values of the groups that were found there.
        """
        some = self._in_a_group() if rows is None else intersection(rows, self._in_a_group())
        some = difference(some, as_rowset(np.array(seen, dtype=np.int64)))
        return difference(some, self._of_groups(groups))

    def _in_a_group(self) -> Rows:
        return self._matching(And(()) if self.path == BY_PARENT else Exists(self.path))

    def _of_groups(self, groups: Sequence[Any]) -> Rows:
        """Rows that are certainly in one of these groups: most of the rows that are."""
        if self.path == BY_PARENT:
            return self._of_parents(groups)
        values = [each for each in groups if _is_indexed(each)]
        rows = union([self._matching(In(self.path, (value,))) for value in values])
        several = several_values(self.connection, self.collection, self.path)
        unsure = [each.rows(self.connection) for each in several] + [unindexed(self.connection, self.collection)]
        return difference(rows, union(unsure))

    def _of_parents(self, parents: Sequence[str]) -> Rows:
        found = in_batches(self.connection, _OF_PARENTS, parents, self.collection)
        return as_rowset(np.array([row for (row,) in found], dtype=np.int64))

    def _matching(self, where: Filter) -> Rows:
        return self.filters.rows(self.connection, self.sequence, self.collection, where)


def _is_indexed(group: Any) -> bool:
    """Whether a filter finds the documents of a group: filters compare the elements of an array, but a group is the
    whole array.
    """
    if isinstance(group, int):
        return -LARGEST_INTEGER <= group <= LARGEST_INTEGER
    return not isinstance(group, list | dict)
