"""Documents read from disk. Every function reads inside the transaction that its connection is in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.encoding import checksum_of, decode_box, decode_embedding, decode_tags, is_text
from executors.index.embedded.transaction import KnownCollection
from executors.index.records import Box, StoredDocument, Tags

_DOCUMENT: Final = "id, version, tags, uri, parent, box, text, row"
_VARIABLES_AT_ONCE: Final = 500


class HitFields(NamedTuple):
    """What a hit shows of its document."""

    version: str
    uri: str | None
    tags: Tags
    parent: str | None
    box: Box | None


def sequence_of(connection: sqlite3.Connection) -> int:
    """The number of the last transaction that this one sees."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0])


def documents_by_id(
    connection: sqlite3.Connection,
    collection: KnownCollection,
    ids: Sequence[str],
    *,
    embedding: bool,
    thumbnail: bool,
) -> list[StoredDocument | None]:
    """One document, or None, for each id.

    Raises:
        VisualSearchError: `store_invalid` if an embedding was asked for and does not match its checksum.
    """
    found: list[StoredDocument | None] = []
    for each in ids:
        row = None
        if is_text(each):
            row = connection.execute(
                f"SELECT {_DOCUMENT} FROM documents WHERE collection = ? AND id = ?", (collection.number, each)
            ).fetchone()
        if row is None:
            found.append(None)
            continue
        vector = _embedding(connection, collection, row[7], each) if embedding else None
        found.append(_document(collection, row, vector, _thumbnail(connection, row[7]) if thumbnail else None))
    return found


def documents_after(
    connection: sqlite3.Connection, collection: KnownCollection, after: str, limit: int
) -> list[StoredDocument]:
    """The next `limit` documents by id."""
    rows = connection.execute(
        f"SELECT {_DOCUMENT} FROM documents WHERE collection = ? AND id > ? ORDER BY id LIMIT ?",
        (collection.number, after, max(0, limit)),
    )
    return [_document(collection, row) for row in rows]


def hit_fields(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, HitFields]:
    """What the hits on these rows show; a row that is not there is left out."""
    fields = {}
    for start in range(0, len(rows), _VARIABLES_AT_ONCE):
        some = rows[start : start + _VARIABLES_AT_ONCE]
        marks = ", ".join("?" * len(some))
        for row, version, uri, tags, parent, box in connection.execute(
            f"SELECT row, version, uri, tags, parent, box FROM documents WHERE row IN ({marks})", some
        ):
            fields[row] = HitFields(version, uri, decode_tags(tags), parent, decode_box(box))
    return fields


def all_vectors(connection: sqlite3.Connection) -> Iterator[tuple[int, int, str, bytes | None]]:
    """Row, collection number, id and vector of every document, by row; None for a vector that is missing or damaged."""
    for row, number, document_id, checksum, embedding in connection.execute(
        "SELECT d.row, d.collection, d.id, v.checksum, v.embedding FROM documents d"
        " LEFT JOIN vectors v ON v.row = d.row ORDER BY d.row"
    ):
        sound = embedding is not None and checksum_of(row, embedding) == checksum
        yield row, number, document_id, embedding if sound else None


def _document(
    collection: KnownCollection,
    row: tuple[Any, ...],
    embedding: NDArray[np.float32] | None = None,
    thumbnail: bytes | None = None,
) -> StoredDocument:
    document_id, version, tags, uri, parent, box, text, _ = row
    return StoredDocument(
        collection=collection.collection.name,
        id=document_id,
        version=version,
        model_id=collection.collection.model_id,
        tags=decode_tags(tags),
        uri=uri,
        parent=parent,
        box=decode_box(box),
        text=text,
        embedding=embedding,
        thumbnail=thumbnail,
    )


def _embedding(
    connection: sqlite3.Connection, collection: KnownCollection, row: int, document_id: str
) -> NDArray[np.float32]:
    stored = connection.execute("SELECT checksum, embedding FROM vectors WHERE row = ?", (row,)).fetchone()
    if stored is None or checksum_of(row, stored[1]) != stored[0]:
        raise damaged(collection.collection.name, [document_id])
    return decode_embedding(stored[1])


def _thumbnail(connection: sqlite3.Connection, row: int) -> bytes | None:
    stored = connection.execute("SELECT jpeg FROM thumbnails WHERE row = ?", (row,)).fetchone()
    return None if stored is None else stored[0]


def damaged(collection: str, ids: Sequence[str]) -> VisualSearchError:
    """The error for vectors that are not what was stored."""
    return VisualSearchError(
        "store_invalid",
        f"{len(ids)} vectors of the collection {collection!r} are damaged on disk: index these ids again, or delete them",
        collection=collection,
        ids=list(ids[:20]),
        damaged=len(ids),
    )
