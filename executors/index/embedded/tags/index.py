"""Writes to the tag index, which finds rows by the values at their paths; query.py reads it.

The index covers every path of every document. It is derived from `documents.tags`, always in the same transaction, and
can be rebuilt from them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, Final, TypeAlias

from executors.index.embedded.tags.entries import Entry, entries_of
from executors.index.encoding import decode_tags

# The key of the entries that list the rows of a collection (the value) that are not in the index; real paths start at
# 1.
UNINDEXED_KEY: Final = 0

_ENTRIES_AT_ONCE: Final = 32
_INSERTS: Final = [
    f"INSERT INTO tag_values (key, kind, value, row) VALUES {', '.join(['(?, ?, ?, ?)'] * count)}"
    for count in range(_ENTRIES_AT_ONCE + 1)
]

# None marks a document that can't be indexed.
IndexEntry: TypeAlias = Entry | None
_Stored: TypeAlias = tuple[int, int, int | float | str | bytes, int]


class TagWriter:
    """Keeps the index in step with the documents.

    Make one for each transaction: it remembers the numbers of paths, which a rollback may take back.

    Args:
        connection: the writing connection, with a transaction begun.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._numbers: dict[tuple[int, str], int] = {}

    def write(self, collection: int, row: int, tags: Mapping[str, Any]) -> None:
        """Add a new document."""
        self._insert(collection, row, index_entries(tags))

    def remove(self, collection: int, row: int, tags: Mapping[str, Any]) -> None:
        """Remove a document; `tags` must be the tags that were added."""
        self._delete(collection, row, index_entries(tags))

    def replace(self, collection: int, row: int, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """Replace the tags of a document; unchanged entries are not touched."""
        before, after = index_entries(old), index_entries(new)
        self._delete(collection, row, before - after)
        self._insert(collection, row, after - before)

    def forget_paths(self, collection: int) -> None:
        """Forget the paths of a collection after its last document was removed."""
        self._connection.execute("DELETE FROM tag_keys WHERE collection = ?", (collection,))
        self._numbers.clear()

    def rebuild(self) -> None:
        """Rebuild the whole index from the documents."""
        self._numbers.clear()
        self._connection.execute("DELETE FROM tag_values")
        self._connection.execute("DELETE FROM tag_keys")
        for collection, row, tags in self._connection.execute(
            "SELECT collection, row, tags FROM documents ORDER BY row"
        ):
            self.write(collection, row, decode_tags(tags))

    def _insert(self, collection: int, row: int, entries: Iterable[IndexEntry]) -> None:
        stored = [self._stored(collection, row, entry) for entry in entries]
        # One statement for many entries: each statement lets go of the GIL, and may wait for it.
        for start in range(0, len(stored), _ENTRIES_AT_ONCE):
            some = stored[start : start + _ENTRIES_AT_ONCE]
            self._connection.execute(_INSERTS[len(some)], [*chain.from_iterable(some)])

    def _delete(self, collection: int, row: int, entries: Iterable[IndexEntry]) -> None:
        stored = [self._stored(collection, row, entry) for entry in entries]
        if stored:
            self._connection.executemany(
                "DELETE FROM tag_values WHERE key = ? AND kind = ? AND value = ? AND row = ?", stored
            )

    def _stored(self, collection: int, row: int, entry: IndexEntry) -> _Stored:
        if entry is None:
            return UNINDEXED_KEY, 0, collection, row
        path, kind, value = entry
        return self._number(collection, path), kind, value, row

    def _number(self, collection: int, path: str) -> int:
        number = self._numbers.get((collection, path))
        if number is None:
            number = path_number(self._connection, collection, path)
            if number is None:
                cursor = self._connection.execute(
                    "INSERT INTO tag_keys (collection, path) VALUES (?, ?)", (collection, path)
                )
                number = cursor.lastrowid
                assert number is not None
            self._numbers[collection, path] = number
        return number


def path_number(connection: sqlite3.Connection, collection: int, path: str) -> int | None:
    """The number of a path in a collection; None if no document ever had the path."""
    found = connection.execute(
        "SELECT number FROM tag_keys WHERE collection = ? AND path = ?", (collection, path)
    ).fetchone()
    return None if found is None else int(found[0])


def index_entries(tags: Mapping[str, Any]) -> set[IndexEntry]:
    """The entries of the index for a document with these tags."""
    entries = entries_of(tags)
    return {None} if entries is None else {*entries}
