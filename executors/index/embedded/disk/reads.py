"""Reads of documents from disk. Every function reads inside the transaction that its connection is in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import in_batches
from executors.index.embedded.disk.meta import KnownCollection
from executors.index.encoding import (
    checksum_of,
    decode_box,
    decode_embedding,
    decode_embeddings,
    is_text,
    sound_tags,
)
from executors.index.records import Box, StoredDocument, Tags

DOCUMENT_COLUMNS: Final = "id, version, tags, uri, parent, box, text, row, content_digest, digest"
_NO_ROW: Final = 2**63 - 1


class HitFields(NamedTuple):
    """The fields of a document that a hit shows."""

    id: str
    version: str
    uri: str | None
    tags: Tags
    parent: str | None
    box: Box | None


def sequence_of(connection: sqlite3.Connection) -> int:
    """The number of the last transaction that this one sees."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'sequence'").fetchone()[0])


def moment_of(connection: sqlite3.Connection) -> tuple[int, int]:
    """The number of the last transaction that this one sees, and the first row number that is still unused in it."""
    sequence, next_row = connection.execute(
        "SELECT value, (SELECT value FROM meta WHERE key = 'next_row') FROM meta WHERE key = 'sequence'"
    ).fetchone()
    return int(sequence), int(next_row)


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
                f"SELECT {DOCUMENT_COLUMNS} FROM documents WHERE collection = ? AND id = ?", (collection.number, each)
            ).fetchone()
        if row is None:
            found.append(None)
            continue
        vector = embedding_of(connection, collection, row[7], each) if embedding else None
        found.append(document_of(collection, row, vector, thumbnail_of(connection, row[7]) if thumbnail else None))
    return found


def hit_fields(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, HitFields]:
    """The fields that hits on these rows show; a row that does not exist is left out.

    Raises:
        VisualSearchError: `store_invalid` for tags that differ from what was stored.
    """
    query = (
        "SELECT row, id, version, uri, tags, parent, box, content_digest, digest FROM documents WHERE row IN ({marks})"
    )
    fields = {}
    for row, document_id, version, uri, tags, parent, box, content, digest in in_batches(connection, query, rows):
        sound = _sound(document_id, tags, content, digest)
        fields[row] = HitFields(document_id, version, uri, sound, parent, decode_box(box))
    return fields


class HitReader:
    """Reads the fields of hits, once for each row, inside the transaction that the connection is in."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._read: dict[int, HitFields] = {}

    def fields(self, rows: Sequence[int]) -> dict[int, HitFields]:
        """See `hit_fields`."""
        missing = [row for row in rows if row not in self._read]
        if missing:
            self._read |= hit_fields(self._connection, missing)
        return self._read

    def ids(self, rows: Sequence[int], shown: int) -> dict[int, str]:
        """The ids of these rows, of which `shown` may become hits; if most of them may, all their fields are read at
        once.
        """
        if len(rows) > 2 * shown:
            return ids_of(self._connection, rows)
        fields = self.fields(rows)
        return {row: fields[row].id for row in rows}


def vectors_after(
    connection: sqlite3.Connection, collection: int, after: int, before: int | None = None
) -> Iterator[tuple[int, str, bytes | None]]:
    """Row, id and vector of the documents of a collection (its number) by row; None for a vector that is damaged or gone.

    Args:
        after, before: only rows between these two; None: no end.
    """
    for row, document_id, checksum, embedding in connection.execute(
        "SELECT d.row, d.id, v.checksum, v.embedding FROM documents d INDEXED BY documents_by_collection"
        " LEFT JOIN vectors v ON v.row = d.row"
        " WHERE d.collection = ? AND d.row > ? AND d.row < ? ORDER BY d.row",
        (collection, after, _NO_ROW if before is None else before),
    ):
        sound = embedding is not None and checksum_of(row, embedding) == checksum
        yield row, document_id, embedding if sound else None


def vectors_at(connection: sqlite3.Connection, rows: Sequence[int]) -> Iterator[tuple[int, str, bytes | None]]:
    """Row, id and vector of these rows (ascending), as from `vectors_after`."""
    query = (
        "SELECT d.row, d.id, v.checksum, v.embedding FROM documents d LEFT JOIN vectors v ON v.row = d.row"
        " WHERE d.row IN ({marks}) ORDER BY d.row"
    )
    for row, document_id, checksum, embedding in in_batches(connection, query, rows):
        sound = embedding is not None and checksum_of(row, embedding) == checksum
        yield row, document_id, embedding if sound else None


def vectors_of(
    connection: sqlite3.Connection, rows: Sequence[int], dimension: int
) -> tuple[NDArray[np.float32], list[int]]:
    """The vectors of rows (ascending) as N x D float32; if any vectors are damaged or missing, the list of their rows
    instead.
    """
    query = "SELECT row, checksum, embedding FROM vectors WHERE row IN ({marks}) ORDER BY row"
    sound: dict[int, bytes] = {}
    for row, checksum, embedding in in_batches(connection, query, rows):
        if checksum_of(row, embedding) == checksum and len(embedding) == 4 * dimension:
            sound[row] = embedding
    if len(sound) < len(rows):
        return np.empty((0, dimension), dtype=np.float32), [row for row in rows if row not in sound]
    return decode_embeddings(list(sound.values()), dimension), []


def ids_of(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, str]:
    """The ids of rows; a row that does not exist is left out."""
    return dict(in_batches(connection, "SELECT row, id FROM documents WHERE row IN ({marks})", rows))


def document_of(
    collection: KnownCollection,
    row: tuple[Any, ...],
    embedding: NDArray[np.float32] | None = None,
    thumbnail: bytes | None = None,
) -> StoredDocument:
    """A document from its columns (DOCUMENT_COLUMNS).

    Raises:
        VisualSearchError: `store_invalid` for tags that differ from what was stored.
    """
    document_id, version, tags, uri, parent, box, text, _, content, digest = row
    return StoredDocument(
        collection=collection.collection.name,
        id=document_id,
        version=version,
        model_id=collection.collection.model_id,
        tags=_sound(document_id, tags, content, digest),
        uri=uri,
        parent=parent,
        box=decode_box(box),
        text=text,
        embedding=embedding,
        thumbnail=thumbnail,
    )


def embedding_of(
    connection: sqlite3.Connection, collection: KnownCollection, row: int, document_id: str
) -> NDArray[np.float32]:
    """The vector of a row.

    Raises:
        VisualSearchError: `store_invalid` if it does not match its checksum.
    """
    stored = connection.execute("SELECT checksum, embedding FROM vectors WHERE row = ?", (row,)).fetchone()
    if stored is None or checksum_of(row, stored[1]) != stored[0]:
        raise damaged(collection.collection.name, [document_id])
    return decode_embedding(stored[1])


def thumbnail_of(connection: sqlite3.Connection, row: int) -> bytes | None:
    """The thumbnail of a row."""
    stored = connection.execute("SELECT jpeg FROM thumbnails WHERE row = ?", (row,)).fetchone()
    return None if stored is None else stored[0]


def _sound(document_id: str, tags: str, content: bytes, digest: bytes) -> Tags:
    sound = sound_tags(tags, content, digest)
    if sound is None:
        raise damaged_tags(document_id)
    return sound


def damaged_tags(document_id: str) -> VisualSearchError:
    """The error for tags that differ from what was stored."""
    return VisualSearchError(
        "store_invalid",
        f"the tags of the document {document_id!r} are damaged on disk: index it again, or delete it",
        ids=[document_id],
    )


def damaged(collection: str, ids: Sequence[str]) -> VisualSearchError:
    """The error for vectors that differ from what was stored."""
    return VisualSearchError(
        "store_invalid",
        f"{len(ids)} vectors of the collection {collection!r} are damaged on disk: index these ids again, or delete them",
        collection=collection,
        ids=list(ids[:20]),
        damaged=len(ids),
    )
