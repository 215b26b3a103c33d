"""A full check of one shard: the file's structure, every document's checksums, and that memory shows the same."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from executors.index.embedded.disk.database import as_visual_search_error, structural_faults
from executors.index.embedded.disk.reads import moment_of
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.upkeep.tag_check import tag_faults
from executors.index.embedded.upkeep.verify_memory import RowsInMemory
from executors.index.encoding import checksum_of, content_digest, sound_tags
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


@dataclass(slots=True)
class Findings:
    """What a check found.

    Attributes:
        keys: every document.
        truth: faults of what is stored, which nothing else can mend.
        memory: by the name of the collection, what memory or its graph shows differently.
        tags: faults of the tags' index.
    """

    keys: list[DocumentKey] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)
    memory: dict[str, list[str]] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    def report(self, repaired: Mapping[str, str] = MappingProxyType({})) -> VerifyReport:
        """The findings, less those that are mended: `""` for the tags' index, else the name of a collection, to what was done."""
        faults = [*self.truth, *(line for name, lines in self.memory.items() if name not in repaired for line in lines)]
        faults += [] if "" in repaired else self.tags
        return VerifyReport(len(self.keys), faults[:_MOST_FAULTS], self.keys, list(repaired.values()))

    @property
    def is_full(self) -> bool:
        """Whether more faults would not be shown."""
        return len(self.truth) + sum(map(len, self.memory.values())) >= _MOST_FAULTS


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
    findings = Findings(truth=structural_faults(connection, full=True))
    try:
        _check_documents(connection, rows, findings)
        for query, meaning in _CONTRADICTIONS:
            findings.truth.extend(f"row {row}: {meaning}" for (row,) in connection.execute(f"{query} LIMIT 20"))
        findings.tags = tag_faults(connection)
    except sqlite3.DatabaseError as error:
        if as_visual_search_error(error).code != "store_invalid":
            raise
        findings.truth.append(f"the file can't be read to its end: {error}")
    else:
        names = {known.number: name for name, known in memory.collections.items()}
        for number, each in rows.items():
            unasked = [f"row {row}: in memory, but not on disk" for row in each.rest()]
            if unasked:
                findings.memory.setdefault(names.get(number, "?"), []).extend(unasked)
    return findings


def _check_documents(connection: sqlite3.Connection, rows: Mapping[int, RowsInMemory], findings: Findings) -> None:
    for document in connection.execute(_DOCUMENTS):
        row, number, name, _, document_id, version = document[:6]
        findings.keys.append(DocumentKey(name or "", document_id, version))
        if findings.is_full:
            continue
        on_disk = list(_faults_on_disk(document))
        in_memory = rows[number].faults(row, document_id, document[14]) if number in rows else []
        known_as = f"document {document_id!r} of {name!r}"
        findings.truth.extend(f"{known_as}: {fault}" for fault in on_disk)
        if in_memory and not on_disk:
            findings.memory.setdefault(name or "?", []).extend(f"{known_as}: {fault}" for fault in in_memory)


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
