"""Pages of documents in id order, counts, and recent writes. Every function reads inside the transaction of its
connection.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.disk.meta import KnownCollection
from executors.index.embedded.disk.reads import (
    DOCUMENT_COLUMNS,
    document_of,
    embedding_of,
    ids_of,
    sequence_of,
    thumbnail_of,
    vectors_of,
)
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.tags.query import all_rows
from executors.index.filters import Filter
from executors.index.records import NEWEST, DocumentKey, RecentWrites, StoredDocument

_ROW: Final = 7
_READ_AT_ONCE: Final = 1_000


def documents_after(
    connection: sqlite3.Connection,
    memory: Memory,
    collection: KnownCollection,
    after: str,
    limit: int,
    where: Filter | None,
    *,
    embedding: bool,
    thumbnail: bool,
) -> list[StoredDocument]:
    """The next `limit` matching documents by id.

    Raises:
        VisualSearchError: `store_invalid` if an embedding was asked for and does not match its checksum.
    """
    rows = _rows_after(connection, memory, collection, after, max(0, limit), where)
    return [
        document_of(
            collection,
            row,
            embedding_of(connection, collection, row[_ROW], row[0]) if embedding else None,
            thumbnail_of(connection, row[_ROW]) if thumbnail else None,
        )
        for row in rows
    ]


def count_matching(connection: sqlite3.Connection, memory: Memory, collection: KnownCollection, where: Filter) -> int:
    """How many documents match."""
    return len(_matching(connection, memory, collection, where))


def random_vectors(
    connection: sqlite3.Connection, collection: KnownCollection, limit: int
) -> list[tuple[str, NDArray[np.float32]]]:
    """Random documents with their vectors; those whose vectors are damaged are left out."""
    rows = all_rows(connection, collection.number)
    chosen = sorted(np.random.default_rng().choice(rows, min(limit, len(rows)), replace=False).tolist())
    vectors, damaged = vectors_of(connection, chosen, collection.collection.dimension)
    if damaged:
        chosen = [row for row in chosen if row not in damaged]
        vectors, _ = vectors_of(connection, chosen, collection.collection.dimension)
    names = ids_of(connection, chosen)
    return [(names[row], vector) for row, vector in zip(chosen, vectors, strict=True)]


def recent_writes(connection: sqlite3.Connection, since: str, before: int, limit: int) -> RecentWrites:
    """The most recently put documents, by row: every put that stores something gets a new row. The first page has drops."""
    rows = connection.execute(
        "SELECT d.row, c.name, d.id, d.version, d.digest FROM documents d"
        " JOIN collections c ON c.number = d.collection AND c.dropped_version IS NULL"
        " WHERE d.row < ? ORDER BY d.row DESC LIMIT ?",
        (before, limit),
    ).fetchall()
    recent = [
        (DocumentKey(name, key, version), digest.hex()) for _, name, key, version, digest in rows if version >= since
    ]
    is_last = len(rows) < limit or not recent
    drops: list[tuple[str, str]] = []
    if before == NEWEST:
        drops = connection.execute(
            "SELECT name, version FROM drops WHERE version >= ? ORDER BY version", (since,)
        ).fetchall()
    keys, digests = [key for key, _ in recent], [digest for _, digest in recent]
    return RecentWrites(keys, digests, None if is_last else rows[-1][0], drops)


def _matching(connection: sqlite3.Connection, memory: Memory, collection: KnownCollection, where: Filter) -> Any:
    sequence = sequence_of(connection)
    memory.wait_for(sequence)
    return memory.filters.rows(connection, sequence, collection.number, where)


def _rows_after(
    connection: sqlite3.Connection,
    memory: Memory,
    collection: KnownCollection,
    after: str,
    limit: int,
    where: Filter | None,
) -> list[tuple[Any, ...]]:
    """The columns of the next documents; documents that don't match are skipped in id order, without reading their
    rows.
    """
    if where is None:
        return connection.execute(
            f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
            (collection.number, after, limit),
        ).fetchall()
    matching = _matching(connection, memory, collection, where)
    found: list[int] = []
    # The index over (collection, id) holds the row number, too.
    walk = connection.execute(
        "SELECT row FROM documents WHERE collection = ? AND id > ? ORDER BY id", (collection.number, after)
    )
    while len(found) < limit and (some := walk.fetchmany(_READ_AT_ONCE)):
        numbers = np.fromiter((row for (row,) in some), dtype=np.int64, count=len(some))
        found.extend(numbers[np.isin(numbers, matching)].tolist())
    walk.close()
    return [
        connection.execute(f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE row = ?", (row,)).fetchone()
        for row in found[:limit]
    ]
