"""A full check of one shard: the file's structure, every document's checksums, and that memory shows the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from executors.index.embedded.database import as_visual_search_error, structural_faults
from executors.index.embedded.encoding import (
    checksum_of,
    content_digest,
    decode_embedding,
    decode_tags,
    document_digest,
)
from executors.index.embedded.memory import Memory
from executors.index.embedded.reads import sequence_of
from executors.index.embedded.vectors import View
from executors.index.records import DocumentKey, VerifyReport

_MOST_FAULTS: Final = 1_000

_DOCUMENTS: Final = """
    SELECT d.row, d.collection, c.name, c.dimension, d.id, d.version, d.digest, d.content_digest, d.uri, d.parent, d.box,
           d.text, d.tags, v.checksum, v.embedding, t.jpeg
    FROM documents d
    LEFT JOIN collections c ON c.number = d.collection
    LEFT JOIN vectors v ON v.row = d.row
    LEFT JOIN thumbnails t ON t.row = d.row
    ORDER BY d.row
"""

# What must be empty, and what it means if it is not.
_CONTRADICTIONS: Final = (
    ("SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM documents)", "a vector without a document"),
    ("SELECT row FROM thumbnails WHERE row NOT IN (SELECT row FROM documents)", "a thumbnail without a document"),
    (
        "SELECT row FROM documents WHERE row >= (SELECT value FROM meta WHERE key = 'next_row')",
        "a row number that would be given out again",
    ),
    (
        "SELECT d.row FROM tombstones t JOIN collections c ON c.name = t.collection"
        " JOIN documents d ON d.collection = c.number AND d.id = t.id",
        "a document that is remembered as removed",
    ),
)


def check_store(connection: sqlite3.Connection, memory: Memory) -> VerifyReport | None:
    """Check everything that the reading transaction of the connection sees.

    Returns:
        None if memory has already dropped rows that this transaction still sees: try again with a new one.
    """
    sequence = sequence_of(connection)
    memory.wait_for(sequence)
    rows: dict[int, _RowsInMemory] = {}
    for number, cache in list(memory.caches.items()):
        views = cache.view(sequence)
        if views is None:
            return None
        rows[number] = _RowsInMemory(views)
    faults = structural_faults(connection, full=True)
    keys: list[DocumentKey] = []
    try:
        for document in connection.execute(_DOCUMENTS):
            _, number, name, _, document_id, version = document[:6]
            keys.append(DocumentKey(name or "", document_id, version))
            if len(faults) < _MOST_FAULTS:
                on_disk = list(_faults_on_disk(document))
                in_memory = list(_faults_in_memory(document, rows.get(number)))
                faults.extend(f"document {document_id!r} of {name!r}: {fault}" for fault in on_disk or in_memory)
        for query, meaning in _CONTRADICTIONS:
            faults.extend(f"row {row}: {meaning}" for (row,) in connection.execute(f"{query} LIMIT 20"))
    except sqlite3.DatabaseError as error:
        if as_visual_search_error(error).code != "store_invalid":
            raise
        faults.append(f"the file can't be read to its end: {error}")
    else:
        faults.extend(f"row {row}: in memory, but not on disk" for each in rows.values() for row in each.rest())
    return VerifyReport(documents=len(keys), faults=faults[:_MOST_FAULTS], keys=keys)


def _faults_on_disk(document: tuple[Any, ...]) -> Iterator[str]:
    row, _, name, dimension, _, _, digest, content, uri, parent, box, text, tags, checksum, embedding, jpeg = document
    if name is None:
        yield "its collection is not there"
    if embedding is None:
        yield "its vector is not there"
        return
    if checksum_of(row, embedding) != checksum:
        yield "its vector does not match its checksum"
    elif name is not None and len(embedding) != 4 * dimension:
        yield "its vector has another dimension than the collection"
    if content_digest(embedding, uri, parent, box, text, jpeg) != content:
        yield "its content does not match its digest"
    try:
        sound = document_digest(content, decode_tags(tags)) == digest
    except orjson.JSONDecodeError:
        sound = False
    if not sound:
        yield "its tags do not match its digest"


def _faults_in_memory(document: tuple[Any, ...], rows: _RowsInMemory | None) -> Iterator[str]:
    row, document_id, embedding = document[0], document[4], document[14]
    found = rows.find(row) if rows is not None else None
    if found is None:
        yield "it is not in memory"
    elif found[0] != document_id:
        yield f"memory has it as {found[0]!r}"
    elif embedding is not None and not np.array_equal(found[1], decode_embedding(embedding)):
        yield "memory has another vector"


class _RowsInMemory:
    """The visible rows of one collection, asked for in ascending order."""

    def __init__(self, views: list[View]) -> None:
        self._rows = _visible(views)
        self._next = next(self._rows, None)
        self._unasked: list[int] = []

    def find(self, row: int) -> tuple[str, NDArray[np.float32]] | None:
        """The id and the vector of a row."""
        while self._next is not None and self._next[0] < row:
            self._unasked.append(self._next[0])
            self._next = next(self._rows, None)
        if self._next is None or self._next[0] != row:
            return None
        _, document_id, vector = self._next
        self._next = next(self._rows, None)
        return document_id, vector

    def rest(self) -> Iterator[int]:
        """Every row that was never asked for."""
        yield from self._unasked
        if self._next is not None:
            yield self._next[0]
        yield from (row for row, _, _ in self._rows)


def _visible(views: list[View]) -> Iterator[tuple[int, str, NDArray[np.float32]]]:
    for view in views:
        for slot in range(view.count):
            if view.gone is None or not view.gone[slot]:
                yield int(view.block.rows[slot]), view.block.ids[slot], view.block.vectors[slot]
