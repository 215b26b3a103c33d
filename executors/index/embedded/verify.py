"""A full check of one shard: the file's structure, every document's checksums, and that memory shows the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from executors.index.embedded.database import as_visual_search_error, structural_faults
from executors.index.embedded.encoding import checksum_of, content_digest, sound_tags
from executors.index.embedded.memory import Memory
from executors.index.embedded.reads import moment_of
from executors.index.embedded.tag_check import tag_faults
from executors.index.embedded.verify_memory import RowsInMemory
from executors.index.records import DocumentKey, VerifyReport

_MOST_FAULTS: Final = 1_000

_DOCUMENTS: Final = """
    SELECT d.row, d.collection, c.name, c.dimension, d.id, d.version, d.digest, d.content_digest, d.uri, d.parent, d.box,
           d.text, d.tags, v.checksum, v.embedding, t.jpeg
    FROM documents d
    LEFT JOIN collections c ON c.number = d.collection
    LEFT JOIN vectors v ON v.row = d.row
    LEFT JOIN thumbnails t ON t.row = d.row
    WHERE c.dropped_version IS NULL
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


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found, and what of it can be made anew: the index of the tags, graphs (names of collections)."""

    report: VerifyReport
    tags: bool
    graphs: frozenset[str]


def check_store(connection: sqlite3.Connection, memory: Memory) -> Findings | None:
    """Check everything that the reading transaction of the connection sees.

    Returns:
        None if memory has already dropped rows that this transaction still sees: try again with a new one.
    """
    sequence, next_row = moment_of(connection)
    memory.wait_for(sequence)
    rows: dict[int, RowsInMemory] = {}
    for number, held in list(memory.held.items()):
        view = held.view(sequence, next_row)
        if view is None:
            return None
        rows[number] = RowsInMemory(view)
    faults = structural_faults(connection, full=True)
    keys: list[DocumentKey] = []
    graphs: set[str] = set()
    tags: list[str] = []
    try:
        for document in connection.execute(_DOCUMENTS):
            _, number, name, _, document_id, version = document[:6]
            keys.append(DocumentKey(name or "", document_id, version))
            if len(faults) < _MOST_FAULTS:
                on_disk = list(_faults_on_disk(document))
                in_memory = [] if number not in rows else rows[number].faults(document[0], document_id, document[14])
                if in_memory and not on_disk:
                    graphs.add(name or "")
                faults.extend(f"document {document_id!r} of {name!r}: {fault}" for fault in on_disk or in_memory)
        for query, meaning in _CONTRADICTIONS:
            faults.extend(f"row {row}: {meaning}" for (row,) in connection.execute(f"{query} LIMIT 20"))
        tags = tag_faults(connection)
    except sqlite3.DatabaseError as error:
        if as_visual_search_error(error).code != "store_invalid":
            raise
        faults.append(f"the file can't be read to its end: {error}")
    else:
        names = {known.number: name for name, known in memory.collections.items()}
        for number, each in rows.items():
            unasked = [f"row {row}: in memory, but not on disk" for row in each.rest()]
            graphs |= {names[number]} if unasked and number in names else set()
            faults.extend(unasked)
    faults.extend(tags)
    report = VerifyReport(documents=len(keys), faults=faults[:_MOST_FAULTS], keys=keys)
    return Findings(report, bool(tags), frozenset(graphs))


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
    if sound_tags(tags, content, digest) is None:
        yield "its tags do not match its digest"
