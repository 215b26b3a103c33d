"""Which rows may be in a group that was not found yet, by the tag index: so that nobody reads documents to find out."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from executors.index.embedded.disk.database import in_batches
from executors.index.embedded.tags.entries import LARGEST_INTEGER
from executors.index.embedded.tags.filter_cache import FilterCache
from executors.index.embedded.tags.postings import several_values, unindexed
from executors.index.embedded.tags.rowsets import Rows, as_rowset, difference, intersection, union
from executors.index.filters import And, Exists, Filter, In

BY_PARENT: Final = "parent"
_OF_PARENTS: Final = (
    "SELECT row FROM documents WHERE collection = ?1 AND parent IN ({marks})"
    " UNION ALL SELECT row FROM documents WHERE collection = ?1 AND id IN ({marks}) AND parent IS NULL"
)


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

    def left(self, rows: Rows | None, seen: Sequence[int], groups: Sequence[Any]) -> Rows:
        """The rows that may be in another group.

        Args:
            rows: where to look, ascending; None: everywhere.
            seen: rows that were looked at.
            groups: the values of the groups that were found there.
        """
        some = self._in_a_group() if rows is None else intersection(rows, self._in_a_group())
        some = difference(some, as_rowset(np.array(seen, dtype=np.int64)))
        return difference(some, self._of_groups(groups))

    def _in_a_group(self) -> Rows:
        return self._matching(And(()) if self.path == BY_PARENT else Exists(self.path))

    def _of_groups(self, groups: Sequence[Any]) -> Rows:
        """Rows that are in one of these groups for certain, and most of them."""
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
    """Whether a filter finds the documents of a group: it asks what an array holds, but a group is the array as it is."""
    if isinstance(group, int):
        return -LARGEST_INTEGER <= group <= LARGEST_INTEGER
    return not isinstance(group, list | dict)
