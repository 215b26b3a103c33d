"""One transaction of the writer: what it changes on disk, and what memory has to learn once it is committed."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from executors.errors import VisualSearchError
from executors.index.embedded.encoding import EncodedRecord, checksum_of
from executors.index.records import Collection, ShardIdentity, WriteResult

_PRUNED_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class KnownCollection:
    """A collection and the number that stands for it in the tables."""

    number: int
    collection: Collection


class LiveDocument(NamedTuple):
    """What a write needs to know of the copy that is there."""

    row: int
    version: str
    operation: Literal["put", "update"]
    result: WriteResult
    digest: bytes
    created_at: int


class Tombstone(NamedTuple):
    """What is remembered of an id without a document."""

    version: str
    reason: Literal["deleted", "superseded"]
    result: WriteResult


@dataclass(slots=True)
class Changes:
    """What memory has to learn after the commit. `added`: row to (collection number, id, vector)."""

    sequence: int = 0
    added: dict[int, tuple[int, str, bytes]] = field(default_factory=dict)
    removed: list[tuple[int, int]] = field(default_factory=list)
    collections: dict[str, KnownCollection] = field(default_factory=dict)
    identity: ShardIdentity | None = None
    last_version: str | None = None


class Transaction:
    """The tables as one transaction sees and changes them.

    Args:
        connection: the writing connection, with a transaction begun.
        known: the committed collections by name.
        now_ms: the wall clock at the beginning.
        epoch: names this run of the process in `epochs`.
        damaged: for each collection number, the rows whose vector is not what was stored.
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
        self._epoch = epoch
        self._meta = read_meta(connection)
        self._changed: dict[str, Any] = {}
        self._touched = False
        self.now_ms = now_ms
        self.changes = Changes()

    @property
    def identity(self) -> ShardIdentity | None:
        """Who this shard is, as of this transaction."""
        return identity_of(self._meta | self._changed)

    def set_identity(self, identity: ShardIdentity) -> None:
        """Become, or go on being, this shard."""
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
        return self.changes.collections.get(name) or self._known.get(name)

    def create_collection(self, collection: Collection) -> None:
        """Bind a new name to its model and dimension."""
        cursor = self._connection.execute(
            "INSERT INTO collections (name, model_id, dimension, created_at) VALUES (?, ?, ?, ?)",
            (collection.name, collection.model_id, collection.dimension, self.now_ms),
        )
        assert cursor.lastrowid is not None
        self.changes.collections[collection.name] = KnownCollection(cursor.lastrowid, collection)
        self._touched = True

    def accept(self, version: str) -> None:
        """Note that a write of this version was accepted."""
        self._touched = True
        if version > self._value("last_version"):
            self._changed["last_version"] = version

    def live(self, collection: KnownCollection, document_id: str) -> LiveDocument | None:
        """The copy that is there."""
        row = self._connection.execute(
            "SELECT row, version, operation, result, digest, created_at FROM documents WHERE collection = ? AND id = ?",
            (collection.number, document_id),
        ).fetchone()
        return None if row is None else LiveDocument(*row)

    def is_damaged(self, collection: KnownCollection, row: int) -> bool:
        """Whether the vector of the row is not what was stored."""
        return row in self._damaged.get(collection.number, ())

    def insert(self, collection: KnownCollection, record: EncodedRecord, result: WriteResult, created_at: int) -> None:
        """Store a document in a row of its own, which no document had before."""
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
        if record.thumbnail is not None:
            execute("INSERT INTO thumbnails (row, jpeg) VALUES (?, ?)", (row, record.thumbnail))
        self.changes.added[row] = (collection.number, record.id, record.embedding)

    def remove(self, collection: KnownCollection, row: int) -> None:
        """Take a document out of all tables."""
        for table in ("documents", "vectors", "thumbnails"):
            self._connection.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
        if self.changes.added.pop(row, None) is None:
            self.changes.removed.append((collection.number, row))

    def set_version(self, row: int, version: str, operation: str, result: WriteResult) -> None:
        """Note the write that left the content of a row as it was."""
        self._connection.execute(
            "UPDATE documents SET version = ?, operation = ?, result = ?, updated_at = ? WHERE row = ?",
            (version, operation, result, self.now_ms, row),
        )

    def tags_and_content(self, row: int) -> tuple[str, bytes]:
        """The encoded tags of a row, and the digest of the rest of its content."""
        tags, content = self._connection.execute(
            "SELECT tags, content_digest FROM documents WHERE row = ?", (row,)
        ).fetchone()
        return tags, content

    def set_tags(self, row: int, tags: str, digest: bytes) -> None:
        """Change the tags of a row in place."""
        self._connection.execute("UPDATE documents SET tags = ?, digest = ? WHERE row = ?", (tags, digest, row))

    def tombstone(self, collection: str, document_id: str) -> Tombstone | None:
        """What is remembered of an id that has no document."""
        row = self._connection.execute(
            "SELECT version, reason, result FROM tombstones WHERE collection = ? AND id = ?", (collection, document_id)
        ).fetchone()
        return None if row is None else Tombstone(*row)

    def bury(self, collection: str, document_id: str, tombstone: Tombstone) -> None:
        """Remember a delete or a supersede."""
        self._connection.execute(
            "INSERT OR REPLACE INTO tombstones (collection, id, version, reason, result, recorded_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (collection, document_id, *tombstone, self.now_ms),
        )

    def forget(self, collection: str, document_id: str) -> None:
        """A newer write was accepted: the tombstone has done its work."""
        self._connection.execute("DELETE FROM tombstones WHERE collection = ? AND id = ?", (collection, document_id))

    def prune_tombstones(self, older_than_ms: int) -> bool:
        """Forget what was recorded before that time, a bounded number at once; whether there may be more."""
        cursor = self._connection.execute(
            "DELETE FROM tombstones WHERE (collection, id) IN"
            " (SELECT collection, id FROM tombstones WHERE recorded_at < ? LIMIT ?)",
            (older_than_ms, _PRUNED_AT_ONCE),
        )
        return cursor.rowcount == _PRUNED_AT_ONCE

    @property
    def has_changes(self) -> bool:
        """Whether there is anything to commit."""
        return self._touched or bool(self._changed)

    def seal(self) -> None:
        """Write the counters of this transaction; the last thing before the commit."""
        sequence = self._meta["sequence"] + 1
        self._changed["sequence"] = self.changes.sequence = sequence
        self.changes.last_version = self._changed.get("last_version")
        for key, value in self._changed.items():
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))
        if self._connection.execute("SELECT 1 FROM epochs WHERE token = ?", (self._epoch,)).fetchone() is None:
            self._connection.execute("INSERT INTO epochs VALUES (?, ?, ?)", (sequence, self._epoch, self.now_ms))

    def _value(self, key: str) -> Any:
        return self._changed.get(key, self._meta[key])


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """The counters and the identity.

    Raises:
        VisualSearchError: `store_invalid` if one is missing.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    missing = {"format_version", "store_id", "sequence", "next_row", "last_version", "populated"} - meta.keys()
    if missing:
        raise VisualSearchError("store_invalid", f"the shard's file lacks {', '.join(sorted(missing))}")
    return meta


def identity_of(meta: Mapping[str, Any]) -> ShardIdentity | None:
    """Who the file says this shard is."""
    if "index_uuid" not in meta:
        return None
    return ShardIdentity(meta["index_uuid"], meta["shard"], meta["shards"], bool(meta["populated"]))


def read_collections(connection: sqlite3.Connection) -> dict[str, KnownCollection]:
    """All collections by name."""
    rows = connection.execute("SELECT number, name, model_id, dimension FROM collections ORDER BY name")
    return {
        name: KnownCollection(number, Collection(name, model, dimension)) for number, name, model, dimension in rows
    }


def new_epoch() -> str:
    """A name for this run of the process, as nothing else has."""
    return secrets.token_hex(8)
