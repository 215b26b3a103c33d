"""A full check of one shard: the file's structure, the checksums of every document, the tag index, and memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.disk.database import as_visual_search_error, structural_faults
from executors.index.embedded.disk.reads import moment_of
from executors.index.embedded.graph.cosine import exact_squares
from executors.index.embedded.memory.collection_memory import CollectionView, GraphView
from executors.index.embedded.memory.shard_memory import Memory
from executors.index.embedded.tags.index import UNINDEXED_KEY, IndexEntry, index_entries
from executors.index.encoding import checksum_of, content_digest, decode_embedding, sound_tags
from executors.index.records import DocumentKey, VerifyReport

_MOST_FAULTS: Final = 1_000

_DOCUMENTS: Final = """
    SELECT d.row, d.collection, c.name, d.id, d.version, v.embedding, c.dimension, v.checksum, d.tags, d.content_digest,
           d.digest, d.uri, d.parent, d.box, d.text, t.jpeg
    FROM documents d
    LEFT JOIN collections c ON c.number = d.collection
    LEFT JOIN vectors v ON v.row = d.row
    LEFT JOIN thumbnails t ON t.row = d.row
    WHERE c.dropped_version IS NULL
    ORDER BY d.row
"""

# Queries that must find nothing, and the fault if they do.
_CONTRADICTIONS: Final = (
    ("SELECT row FROM vectors WHERE row NOT IN (SELECT row FROM documents)", "a vector without a document"),
    ("SELECT row FROM thumbnails WHERE row NOT IN (SELECT row FROM documents)", "a thumbnail without a document"),
    (
        "SELECT row FROM documents WHERE row >= (SELECT value FROM meta WHERE key = 'next_row')",
        "a row number that would be reused",
    ),
    (
        "SELECT d.row FROM tombstones t JOIN collections c ON c.name = t.collection"
        " JOIN documents d ON d.collection = c.number AND d.id = t.id",
        "a document with a tombstone",
    ),
)
_DECODED_AT_ONCE: Final = 1024
# Half precision keeps 11 bits of each number, and nothing below about 6e-8.
_RELATIVE: Final = 2.0**-10
_ABSOLUTE: Final = 1e-6
_MOST_TAG_FAULTS: Final = 20


@dataclass(slots=True)
class Findings:
    """The results of a check.

    Attributes:
        keys: every document.
        truth: faults of the documents on disk, which can't be repaired from anything else.
        memory: by the name of the collection, differences in memory or in its graph.
        tags: faults of the tag index.
    """

    keys: list[DocumentKey] = field(default_factory=list)
    truth: list[str] = field(default_factory=list)
    memory: dict[str, list[str]] = field(default_factory=dict)
    tags: list[str] = field(default_factory=list)

    def report(self, repaired: Mapping[str, str] = MappingProxyType({})) -> VerifyReport:
        """The findings without the repaired ones. `repaired` maps the name of a collection, or `""` for the tag index,
        to a description of the repair.
        """
        faults = [*self.truth, *(line for name, lines in self.memory.items() if name not in repaired for line in lines)]
        faults += [] if "" in repaired else self.tags
        return VerifyReport(len(self.keys), faults[:_MOST_FAULTS], self.keys, list(repaired.values()))

    @property
    def is_full(self) -> bool:
        """Whether the report has no room for more faults."""
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
        row, number, name, document_id, version, embedding = document[:6]
        findings.keys.append(DocumentKey(name or "", document_id, version))
        if findings.is_full:
            continue
        on_disk = list(_faults_on_disk(document))
        in_memory = rows[number].faults(row, document_id, embedding) if number in rows else []
        known_as = f"document {document_id!r} of {name!r}"
        findings.truth.extend(f"{known_as}: {fault}" for fault in on_disk)
        if in_memory and not on_disk:
            findings.memory.setdefault(name or "?", []).extend(f"{known_as}: {fault}" for fault in in_memory)


def _faults_on_disk(document: tuple[Any, ...]) -> Iterator[str]:
    row, _, name, _, _, embedding, dimension, checksum, tags, content, digest, uri, parent, box, text, jpeg = document
    if name is None:
        yield "its collection is missing"
    if embedding is None:
        yield "its vector is missing"
        return
    if checksum_of(row, embedding) != checksum:
        yield "its vector does not match its checksum"
    elif name is not None and len(embedding) != 4 * dimension:
        yield "its vector has another dimension than the collection"
    if content_digest(embedding, uri, parent, box, text, jpeg) != content:
        yield "its content does not match its digest"
    if sound_tags(tags, content, digest) is None:
        yield "its tags do not match its digest"


class RowsInMemory:
    """The rows of one collection as of one transaction."""

    def __init__(self, view: CollectionView) -> None:
        self._rows = _rows_of(view)
        self._next = next(self._rows, None)
        self._unasked: list[int] = []

    def faults(self, row: int, document_id: str, embedding: bytes | None) -> list[str]:
        """The faults in memory of a row that the disk has. The caller must ask for rows in ascending order."""
        while self._next is not None and self._next[0] < row:
            self._unasked.append(self._next[0])
            self._next = next(self._rows, None)
        if self._next is None or self._next[0] != row:
            return ["it is not in memory"]
        _, name, vector = self._next
        self._next = next(self._rows, None)
        if name is not None and name != document_id:
            return [f"memory has it as {name!r}"]
        if embedding is None or _same(decode_embedding(embedding), vector, exact=name is not None):
            return []
        return ["memory has another vector" if name is not None else "the graph has another vector"]

    def rest(self) -> Iterator[int]:
        """Every row that was never asked for."""
        yield from self._unasked
        if self._next is not None:
            yield self._next[0]
        yield from (row for row, _, _ in self._rows)


def _same(stored: NDArray[np.float32], held: NDArray[np.float32], *, exact: bool) -> bool:
    if exact or stored.shape != held.shape:
        return np.array_equal(stored, held)
    unit = stored / np.sqrt(exact_squares(stored[np.newaxis])[0])
    return bool(np.allclose(held, unit, rtol=_RELATIVE, atol=_ABSOLUTE))


def _rows_of(view: CollectionView) -> Iterator[tuple[int, str | None, NDArray[np.float32]]]:
    """Row, id and vector of everything alive, by row; rows that only the graph has come without an id."""
    if view.graph is not None:
        yield from _rows_in_graph(view.graph)
    for each in view.flat:
        for slot in range(each.count):
            row = int(each.block.rows[slot])
            if row > view.covered and (each.gone is None or not each.gone[slot]):
                yield row, each.block.ids[slot], each.block.vectors[slot]


def _rows_in_graph(view: GraphView) -> Iterator[tuple[int, str | None, NDArray[np.float32]]]:
    graph, extent = view.graph, view.extent
    of_slots = graph.rows(extent)[view.live_slots()]
    of_copies = graph.copies.rows(extent.copies)[view.live_copies()]
    rows = np.sort(np.concatenate([of_slots, of_copies]))
    for start in range(0, len(rows), _DECODED_AT_ONCE):
        some = rows[start : start + _DECODED_AT_ONCE]
        for row, vector in zip(some.tolist(), graph.vectors(some, extent), strict=True):
            yield row, None, vector


def tag_faults(connection: sqlite3.Connection) -> list[str]:
    """The missing and surplus entries of the index, at most 20 lines. Reads inside the transaction of the connection."""
    return list(islice(_tag_faults(connection), _MOST_TAG_FAULTS))


def _tag_faults(connection: sqlite3.Connection) -> Iterator[str]:
    numbers = {(key[0], key[1]): key[2] for key in connection.execute("SELECT collection, path, number FROM tag_keys")}
    entries = 0
    for collection, row, encoded, content, digest in connection.execute(
        "SELECT collection, row, tags, content_digest, digest FROM documents ORDER BY row"
    ):
        tags = sound_tags(encoded, content, digest)
        if tags is None:
            # The document is damaged, not the index, which still has the original entries.
            entries += connection.execute("SELECT count(*) FROM tag_values WHERE row = ?", (row,)).fetchone()[0]
            continue
        expected = index_entries(tags)
        found = sum(_is_stored(connection, numbers, collection, row, entry) for entry in expected)
        entries += found
        if found < len(expected):
            yield f"the tag index lacks {len(expected) - found} of {len(expected)} entries of row {row}"
    total = connection.execute("SELECT count(*) FROM tag_values").fetchone()[0]
    if total != entries:
        yield f"the tag index has {total - entries} entries that no document has"


def _is_stored(
    connection: sqlite3.Connection, numbers: Mapping[tuple[int, str], int], collection: int, row: int, entry: IndexEntry
) -> bool:
    sought: tuple[object, ...]
    if entry is None:
        sought = (UNINDEXED_KEY, 0, collection, row)
    else:
        # A path without a number has no entries.
        path, kind, value = entry
        sought = (numbers.get((collection, path)), kind, value, row)
    found = connection.execute(
        "SELECT 1 FROM tag_values WHERE key = ? AND kind = ? AND value = ? AND row = ?", sought
    ).fetchone()
    return found is not None
