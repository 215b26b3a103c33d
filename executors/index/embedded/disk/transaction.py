"""One transaction of the writer: its changes to the tables, and the changes that memory must apply after the commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from executors.index.embedded.disk.meta import KnownCollection, identity_of, read_meta
from executors.index.embedded.disk.tombstones import Removals
from executors.index.embedded.tags.index import TagWriter
from executors.index.embedded.tags.query import matching_rows
from executors.index.encoding import EncodedRecord, checksum_of, decode_tags, encode_tags, sound_tags
from executors.index.filters import Filter
from executors.index.records import Collection, ShardIdentity, Tags, WriteResult
from executors.index.write_rules import Held

_VACUUMED_AT_ONCE: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveDocument(Held):
    """A live document and its row."""

    collection: KnownCollection
    row: int
    created_at: int


@dataclass(slots=True)
class Changes:
    """The changes that memory must apply after the commit.

    `added`: row to (collection number, id, vector); `removed` and `retagged`: collection number and row; `dropped`:
    numbers.
    """

    sequence: int = 0
    added: dict[int, tuple[int, str, bytes]] = field(default_factory=dict)
    removed: list[tuple[int, int]] = field(default_factory=list)
    retagged: list[tuple[int, int]] = field(default_factory=list)
    collections: dict[str, KnownCollection] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    tags_reindexed: bool = False
    identity: ShardIdentity | None = None
    last_version: str | None = None


class Transaction:
    """The tables as one transaction sees and changes them.

    Args:
        connection: the writing connection, with a transaction begun.
        known: the committed collections by name.
        now_ms: the wall clock at the beginning.
        epoch: names this run of the process in `epochs`.
        damaged: for each collection number, the rows whose vector differs from what was stored.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        known: Mapping[str, KnownCollection],
        now_ms: int,
        epoch: str,
        damaged: Mapping[int, Container[int]],
    ) -> None:
        self._connection = connection
        self._known = known
        self._damaged = damaged
        self._tags = TagWriter(connection)
        self._epoch = epoch
        self._meta = read_meta(connection)
        self._changed: dict[str, Any] = {}
        self._touched = False
        self.now_ms = now_ms
        self.removals = Removals(connection, now_ms)
        self.changes = Changes()

    @property
    def identity(self) -> ShardIdentity | None:
        """The identity of this shard, as of this transaction."""
        return identity_of(self._meta | self._changed)

    def set_identity(self, identity: ShardIdentity) -> None:
        """Set the identity of this shard."""
        if identity == self.identity:
            return
        self._changed |= {
            "index_uuid": identity.index_uuid,
            "shard": identity.shard,
            "shards": identity.shards,
            "populated": int(identity.populated),
        }
        self.changes.identity = identity

    def collection(self, name: str) -> KnownCollection | None:
        """The collection of that name."""
        known = self.changes.collections.get(name) or self._known.get(name)
        return None if known is None or known.number in self.changes.dropped else known

    def create_collection(self, collection: Collection) -> None:
        """Bind a new name to its model and dimension."""
        cursor = self._connection.execute(
            "INSERT INTO collections (name, model_id, dimension, created_at) VALUES (?, ?, ?, ?)",
            (collection.name, collection.model_id, collection.dimension, self.now_ms),
        )
        assert cursor.lastrowid is not None
        self.changes.collections[collection.name] = KnownCollection(cursor.lastrowid, collection)
        self._touched = True

    def drop_collection(self, collection: KnownCollection, version: str) -> None:
        """Free the name; `purge` removes the documents later."""
        self._connection.execute(
            "UPDATE collections SET name = char(0) || number, dropped_version = ? WHERE number = ?",
            (version, collection.number),
        )
        self.changes.collections.pop(collection.collection.name, None)
        self.changes.dropped.add(collection.number)
        self._touched = True

    def purge(self, number: int, most: int) -> int:
        """Remove documents of a dropped collection, then the collection itself; returns the number of documents
        removed.
        """
        rows = self._connection.execute(
            "SELECT row FROM documents WHERE collection = ? LIMIT ?", (number, most)
        ).fetchall()
        for (row,) in rows:
            self._remove_tags(number, row, self.tags(row))
            self._delete_row(row)
        if len(rows) < most:
            self._tags.forget_paths(number)
            self._connection.execute("DELETE FROM collections WHERE number = ?", (number,))
        self._touched = True
        return len(rows)

    def vacuum_some(self) -> None:
        """Move some free pages to the end of the file and cut them off."""
        self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUMED_AT_ONCE})").fetchall()

    def children(self, collection: KnownCollection, parent: str) -> list[tuple[str, int, str]]:
        """Id, row and version of the documents whose parent has that id."""
        return self._connection.execute(
            "SELECT id, row, version FROM documents WHERE collection = ? AND parent = ? ORDER BY row",
            (collection.number, parent),
        ).fetchall()

    def matching(self, collection: KnownCollection, where: Filter, version: str, most: int) -> list[tuple[str, int]]:
        """Id and row of documents that match and were written before that version, at most `limit`."""
        found: list[tuple[str, int]] = []
        for row in matching_rows(self._connection, collection.number, where).tolist():
            document_id, written = self._connection.execute(
                "SELECT id, version FROM documents WHERE row = ?", (row,)
            ).fetchone()
            if written < version:
                found.append((document_id, row))
                if len(found) == most:
                    break
        return found

    def has_newer(self, collection: KnownCollection, version: str) -> bool:
        """Whether any document was written after that version."""
        newer = "SELECT 1 FROM documents WHERE collection = ? AND version > ? LIMIT 1"
        return self._connection.execute(newer, (collection.number, version)).fetchone() is not None

    @property
    def last_version(self) -> str:
        """The newest version that was accepted."""
        return str(self._value("last_version"))

    def accept(self, version: str) -> None:
        """Note that a write of this version was accepted."""
        self._touched = True
        if version > self._value("last_version"):
            self._changed["last_version"] = version

    def held(self, collection: str, document_id: str) -> Held | None:
        """The record under an id: a `LiveDocument`, a tombstone, or None."""
        known = self.collection(collection)
        found = None if known is None else self._live(known, document_id)
        return self.removals.tombstone(collection, document_id) if found is None else found

    def _live(self, collection: KnownCollection, document_id: str) -> LiveDocument | None:
        found = self._connection.execute(
            "SELECT row, created_at, version, operation, result, digest, content_digest FROM documents"
            " WHERE collection = ? AND id = ?",
            (collection.number, document_id),
        ).fetchone()
        if found is None:
            return None
        row, created_at, version, operation, result, digest, content = found
        return LiveDocument(
            True,
            version,
            operation,
            result,
            digest.hex(),
            content.hex(),
            collection=collection,
            row=row,
            created_at=created_at,
        )

    def is_damaged(self, collection: KnownCollection, row: int) -> bool:
        """Whether the vector or the tags of the row differ from what was stored."""
        if row in self._damaged.get(collection.number, ()) or self.tags(row) is None:
            return True
        stored = self._connection.execute("SELECT checksum, embedding FROM vectors WHERE row = ?", (row,)).fetchone()
        return stored is None or checksum_of(row, stored[1]) != stored[0]

    def insert(self, collection: KnownCollection, record: EncodedRecord, result: WriteResult, created_at: int) -> None:
        """Store a document in a new row."""
        row: int = self._value("next_row")
        self._changed["next_row"] = row + 1
        execute = self._connection.execute
        execute(
            "INSERT INTO documents (row, collection, id, version, operation, result, digest, content_digest, created_at,"
            " updated_at, parent, box, uri, tags, text) VALUES (?, ?, ?, ?, 'put', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row, collection.number, record.id, record.version, result, record.digest, record.content_digest, created_at,
             self.now_ms, record.parent, record.box, record.uri, record.tags, record.text),
        )  # fmt: skip
        execute(
            "INSERT INTO vectors (row, checksum, embedding) VALUES (?, ?, ?)",
            (row, checksum_of(row, record.embedding), record.embedding),
        )
        self._tags.write(collection.number, row, decode_tags(record.tags))
        if record.thumbnail is not None:
            execute("INSERT INTO thumbnails (row, jpeg) VALUES (?, ?)", (row, record.thumbnail))
        self.changes.added[row] = (collection.number, record.id, record.embedding)

    def remove(self, collection: KnownCollection, row: int) -> None:
        """Remove a document from all tables."""
        self._remove_tags(collection.number, row, self.tags(row))
        self._delete_row(row)
        if self.changes.added.pop(row, None) is None:
            self.changes.removed.append((collection.number, row))

    def bury(self, collection: str, document_id: str, held: Held | None, tombstone: Held) -> None:
        """Remove the document, if there is one, and remember this write as a tombstone."""
        if isinstance(held, LiveDocument):
            self.remove(held.collection, held.row)
        self.removals.remember(collection, document_id, tombstone)
        self.accept(tombstone.version)

    def set_write(self, row: int, held: Held) -> None:
        """Note which write last changed a row."""
        self._connection.execute(
            "UPDATE documents SET version = ?, operation = ?, result = ?, updated_at = ? WHERE row = ?",
            (held.version, held.operation, held.result, self.now_ms, row),
        )

    def tags(self, row: int) -> Tags | None:
        """The tags of a row; None if they differ from what was stored."""
        return sound_tags(
            *self._connection.execute(
                "SELECT tags, content_digest, digest FROM documents WHERE row = ?", (row,)
            ).fetchone()
        )

    def set_tags(self, collection: KnownCollection, row: int, old: Tags | None, new: Tags, digest: bytes) -> None:
        """Change the tags of a row in place; `old` is None if they can't be read."""
        if old is None:
            self._remove_tags(collection.number, row, None)
            self._tags.write(collection.number, row, new)
        else:
            self._tags.replace(collection.number, row, old, new)
        self._connection.execute(
            "UPDATE documents SET tags = ?, digest = ? WHERE row = ?", (encode_tags(new), digest, row)
        )
        self.changes.retagged.append((collection.number, row))

    def _remove_tags(self, collection: int, row: int, tags: Tags | None) -> None:
        if tags is None:
            # The old tags are unknown, so every entry of the index is examined.
            self._connection.execute("DELETE FROM tag_values WHERE row = ?", (row,))
        else:
            self._tags.remove(collection, row, tags)

    def rebuild_tag_index(self) -> None:
        """Rebuild the tag index from the documents."""
        self._tags.rebuild()
        self.changes.tags_reindexed = True
        self._touched = True

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return self._touched or bool(self._changed)

    def seal(self) -> None:
        """Write the counters of this transaction. This must be the last call before the commit."""
        sequence = self._meta["sequence"] + 1
        self._changed["sequence"] = self.changes.sequence = sequence
        self.changes.last_version = self._changed.get("last_version")
        for key, value in self._changed.items():
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
        if self._connection.execute("SELECT 1 FROM epochs WHERE token = ?", (self._epoch,)).fetchone() is None:
            self._connection.execute("INSERT INTO epochs VALUES (?, ?, ?)", (sequence, self._epoch, self.now_ms))

    def _delete_row(self, row: int) -> None:
        for table in ("documents", "vectors", "thumbnails"):
            self._connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))

    def _value(self, key: str) -> Any:
        return self._changed.get(key, self._meta[key])
