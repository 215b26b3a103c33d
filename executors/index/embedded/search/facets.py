"""Counts of the values of tags, from the tag index, as of one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from executors.index.embedded.disk.database import in_batches
from executors.index.embedded.disk.meta import KnownCollection
from executors.index.embedded.disk.reads import sequence_of
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.tags.entries import BOOLEAN, DIGEST, NULL, NUMBER, STRING, keys_of
from executors.index.embedded.tags.index import path_number
from executors.index.embedded.tags.postings import unindexed
from executors.index.embedded.tags.rowsets import Rows, intersection
from executors.index.encoding import decode_tags
from executors.index.facets import Tally, without_path
from executors.index.filters import Filter, Scalar, flatten
from executors.index.records import FacetCounts

# For so few documents, or so small a part of all, their tags are read instead of all entries of the path.
_FEW: Final = 1_000
_SMALL_PART: Final = 20
_VALUES_AT_ONCE: Final = 256

# Value, number of documents, and the row of one of them.
_Counted: TypeAlias = tuple[Any, int, int]


def count_facets(
    connection: sqlite3.Connection,
    memory: Memory,
    collection: KnownCollection,
    paths: Sequence[str],
    where: Filter | None,
) -> FacetCounts:
    """The counts of the values of each path among the matching documents, and how many documents match.

    Raises:
        VisualSearchError: `too_many_values`.
    """
    sequence = sequence_of(connection)
    memory.wait_for(sequence)

    def matching(asked: Filter | None) -> Rows | None:
        return None if asked is None else memory.filters.rows(connection, sequence, collection.number, asked)

    rows = matching(where)
    if rows is None:
        query = "SELECT count(*) FROM documents INDEXED BY documents_by_collection WHERE collection = ?"
        total = int(connection.execute(query, (collection.number,)).fetchone()[0])
    else:
        total = len(rows)
    few = max(_FEW, memory.documents(collection) // _SMALL_PART)
    counts = []
    for path in paths:
        among = matching(without_path(where, path))
        tally = Tally(path)
        if among is not None and len(among) <= few:
            _count_tags(connection, among, tally)
        else:
            _count_entries(connection, collection.number, path, among, tally)
        counts.append(tally.pairs())
    return FacetCounts(total, counts)


def _count_entries(connection: sqlite3.Connection, collection: int, path: str, rows: Rows | None, tally: Tally) -> None:
    number = path_number(connection, collection, path)
    if number is not None:
        for kind in (NULL, BOOLEAN, NUMBER, STRING, DIGEST):
            counted = _all(connection, number, kind) if rows is None else _among(connection, number, kind, rows)
            for value, documents, row in counted:
                tally.add(_value(connection, path, kind, value, row), documents)
    asked = unindexed(connection, collection)
    _count_tags(connection, asked if rows is None else intersection(asked, rows), tally)


def _count_tags(connection: sqlite3.Connection, rows: Rows, tally: Tally) -> None:
    for tags in _tags_of(connection, rows.tolist()):
        tally.add_tags(tags)


def _tags_of(connection: sqlite3.Connection, rows: Sequence[int]) -> Iterator[Mapping[str, Any]]:
    for (tags,) in in_batches(connection, "SELECT tags FROM documents WHERE row IN ({marks})", rows):
        yield decode_tags(tags)


def _all(connection: sqlite3.Connection, number: int, kind: int) -> Iterable[_Counted]:
    query = "SELECT value, count(*), min(row) FROM tag_values WHERE key = ? AND kind = ? GROUP BY value"
    return connection.execute(query, (number, kind))


def _among(connection: sqlite3.Connection, number: int, kind: int, rows: Rows) -> Iterator[_Counted]:
    """Count the entries whose rows are among these; values that none of them has are left out."""
    query = "SELECT value, count(*), group_concat(row) FROM tag_values WHERE key = ? AND kind = ? GROUP BY value"
    cursor = connection.execute(query, (number, kind))
    while some := cursor.fetchmany(_VALUES_AT_ONCE):
        # All numbers as one text: far faster than one object for each, and without the GIL.
        there = np.fromstring(",".join(str(each[2]) for each in some), dtype=np.int64, sep=",")
        wanted = rows[np.minimum(np.searchsorted(rows, there), len(rows) - 1)] == there
        starts = np.cumsum([0, *(each[1] for each in some[:-1])])
        for (value, *_), start, found in zip(
            some, starts, np.add.reduceat(wanted, starts, dtype=np.int64), strict=True
        ):
            if found:
                yield value, int(found), int(there[start])


def _value(connection: sqlite3.Connection, path: str, kind: int, value: Any, row: int) -> Scalar:
    """The value of an entry; a text that is too long for an entry is read from the tags of one of its documents."""
    if kind == NULL:
        return None
    if kind == BOOLEAN:
        return bool(value)
    if kind != DIGEST:
        kept: Scalar = value
        return kept
    (tags,) = _tags_of(connection, [row])
    return next(leaf.value for leaf in flatten(tags)[path] if (DIGEST, value) in keys_of(leaf))
