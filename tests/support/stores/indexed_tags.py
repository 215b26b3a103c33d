"""Documents that are nothing but tags, with their index, and strategies for tags and filters that meet each other."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from executors.index.embedded.disk.database import connect_writer
from executors.index.embedded.disk.schema import prepare
from executors.index.embedded.tags.index import TagWriter
from executors.index.encoding import document_digest, encode_tags
from executors.index.filters import Filter, matches

COLLECTION = 1
NEIGHBOUR = 2
# The digest of everything but the tags, which there is nothing of.
_CONTENT = bytes(16)

# Longer than an entry of the index; those that begin alike differ before, at, or after the cut.
LONG = "x" * 246
TEXTS = [
    "", "a", "b", "a\x00", "a\x00b", "é", "\uffff", "\U0001f431", LONG, LONG + "a", LONG + "ab", LONG + "\U0001f431",
    LONG + "éé", LONG + "abcdefghi", LONG + "abcdefghj", LONG + "abcd\x00", LONG + "\U0010ffff" * 3,
    LONG[1:] + "\U0010ffff" * 3,
]  # fmt: skip
NUMBERS: list[int | float] = [
    0, -0.0, 1, 1.0, -1, 1.5, 0.1, 2**53, 2**53 - 1, float(2**53), -(2**53), 1e300, 5e-324
]  # fmt: skip
PATHS = ["a", "b", "a.b", "a\x00", "é"]

ordered = st.sampled_from(TEXTS) | st.sampled_from(NUMBERS)
scalars = st.none() | st.booleans() | ordered
values = st.recursive(
    # Integers that JSON has and SQLite has not keep a document out of the index.
    scalars | scalars | st.sampled_from([2**63, 2**64 - 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", ""]), inner, max_size=2),
    max_leaves=4,
)
tags = st.dictionaries(st.sampled_from(PATHS), values, max_size=4)

_operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars),
    st.tuples(st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), ordered),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)
_conditions = st.dictionaries(
    st.sampled_from([*PATHS, "a.a", "a.b.a", "nowhere"]),
    scalars | st.lists(_operators, min_size=1, max_size=2).map(dict),
    max_size=2,
)
filters = st.recursive(
    _conditions,
    lambda inner: st.one_of(
        st.builds(lambda part: {"$not": part}, inner),
        st.builds(
            lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3)
        ),
    ),
    max_leaves=5,
)


class TaggedDocuments:
    """A shard's file with documents of the two collections, and a dictionary of what COLLECTION holds."""

    def __init__(self, folder: Path) -> None:
        self.connection: sqlite3.Connection = connect_writer(folder)
        prepare(self.connection)
        # Nothing here outlives its process.
        self.connection.execute("PRAGMA synchronous = OFF")
        self.connection.executemany(
            "INSERT INTO collections (number, name, model_id, dimension, created_at) VALUES (?, ?, 'm@1', 8, 0)",
            [(COLLECTION, "images"), (NEIGHBOUR, "others")],
        )
        self.documents: dict[int, dict[str, Any]] = {}
        self._next_row = 1

    def add(self, given: dict[str, Any], collection: int = COLLECTION) -> int:
        """Store a document; its row."""
        row = self._next_row
        self._next_row += 1
        self.connection.execute(
            "INSERT INTO documents (row, collection, id, version, operation, result, digest, content_digest, created_at,"
            " updated_at, tags) VALUES (?, ?, ?, '1', 'put', 'created', ?, ?, 0, 0, ?)",
            (row, collection, f"d{row}", document_digest(_CONTENT, given), _CONTENT, encode_tags(given)),
        )
        TagWriter(self.connection).write(collection, row, given)
        if collection == COLLECTION:
            self.documents[row] = given
        return row

    def change(self, row: int, given: dict[str, Any]) -> None:
        """Give a document other tags."""
        TagWriter(self.connection).replace(COLLECTION, row, self.documents[row], given)
        self.connection.execute(
            "UPDATE documents SET tags = ?, digest = ? WHERE row = ?",
            (encode_tags(given), document_digest(_CONTENT, given), row),
        )
        self.documents[row] = given

    def remove(self, row: int) -> None:
        """Take a document out."""
        TagWriter(self.connection).remove(COLLECTION, row, self.documents.pop(row))
        self.connection.execute("DELETE FROM documents WHERE row = ?", (row,))

    def expected(self, where: Filter) -> list[int]:
        """The rows that match, each asked by itself."""
        return [row for row in sorted(self.documents) if matches(where, self.documents[row])]

    def entries(self) -> int:
        """How many entries the index has."""
        return int(self.connection.execute("SELECT count(*) FROM tag_values").fetchone()[0])

    def clear(self) -> None:
        """Take everything out of both collections."""
        for table in ("documents", "tag_values", "tag_keys"):
            self.connection.execute(f"DELETE FROM {table}")
        self.documents.clear()
