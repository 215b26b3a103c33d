"""Whether the tag index is what the documents say; `TagWriter.rebuild` makes it so."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

from executors.index.embedded.tags.index import UNINDEXED_KEY, IndexEntry, index_entries
from executors.index.encoding import sound_tags

_MOST_FAULTS: Final = 20


def tag_faults(connection: sqlite3.Connection) -> list[str]:
    """What the index lacks, or has too much: at most 20 lines. Reads inside the transaction of the connection."""
    return list(islice(_faults(connection), _MOST_FAULTS))


def _faults(connection: sqlite3.Connection) -> Iterator[str]:
    numbers = {(key[0], key[1]): key[2] for key in connection.execute("SELECT collection, path, number FROM tag_keys")}
    entries = 0
    for collection, row, encoded, content, digest in connection.execute(
        "SELECT collection, row, tags, content_digest, digest FROM documents ORDER BY row"
    ):
        tags = sound_tags(encoded, content, digest)
        if tags is None:
            # The fault of the document, not of the index, which has what they were.
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
