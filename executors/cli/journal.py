"""What was acknowledged: which file, as it was then, is in which index. Survives any interruption of the sender."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS scope (
    number INTEGER PRIMARY KEY, index_uuid TEXT NOT NULL, collection TEXT NOT NULL, folder BLOB NOT NULL,
    id_mode TEXT NOT NULL, UNIQUE (index_uuid, collection, folder, id_mode));
CREATE TABLE IF NOT EXISTS sent (
    scope INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    tags TEXT NOT NULL, document_id TEXT NOT NULL, PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_by_id ON sent (document_id);
CREATE TABLE IF NOT EXISTS imports (
    index_uuid TEXT NOT NULL, collection TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (index_uuid, collection, path)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was acknowledged.

    Attributes:
        name: its path relative to the folder (lone surrogates for bytes that are not UTF-8).
        size: bytes.
        mtime_ns: time of its last change, nanoseconds since 1970.
        tags: digest of the tags that were sent with it.
        document_id: the id that it has in the index.
    """

    name: str
    size: int
    mtime_ns: int
    tags: str
    document_id: str


def tags_digest(tags: Mapping[str, Any]) -> str:
    """A short digest of tags; the same for the same tags in another order."""
    if not tags:
        return ""
    return hashlib.sha256(json.dumps(tags, sort_keys=True).encode()).hexdigest()[:16]


class Journal:
    """One SQLite file for all folders and services of a user. Several processes may use it at once.

    Args:
        path: the file; made with its folder when it is not there. A damaged one is set aside and begun anew: the price
            is that files are sent once more.

    Raises:
        OSError: the folder can't be written.
        sqlite3.Error: the file can't be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connection = _open(path)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    Path(f"{path}{suffix}").rename(f"{path}{suffix}.damaged")
            self._connection = _open(path)

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file, for what else is remembered in it."""
        return self._connection

    def scope(self, index_uuid: str, collection: str, folder: str, id_mode: str) -> JournalScope:
        """The part that belongs to one folder and one collection of one index."""
        key = (index_uuid, collection, os.fsencode(folder), id_mode)
        with self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO scope (index_uuid, collection, folder, id_mode) VALUES (?, ?, ?, ?)", key
            )
        query = "SELECT number FROM scope WHERE index_uuid = ? AND collection = ? AND folder = ? AND id_mode = ?"
        return JournalScope(self._connection, int(self._connection.execute(query, key).fetchone()[0]))

    def forget(self, index_uuid: str, collection: str, document_ids: Iterable[str]) -> None:
        """Drop documents that were deleted from an index: their files are to be sent again when asked for."""
        query = (
            "DELETE FROM sent WHERE document_id = ? AND scope IN "
            "(SELECT number FROM scope WHERE index_uuid = ? AND collection = ?)"
        )
        with self._connection:
            self._connection.executemany(query, [(each, index_uuid, collection) for each in document_ids])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


class JournalScope:
    """What was acknowledged of one folder."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    def find(self, name: str) -> Sent | None:
        """The file as it was acknowledged last, None when it never was."""
        query = "SELECT size, mtime_ns, tags, document_id FROM sent WHERE scope = ? AND name = ?"
        row = self._connection.execute(query, (self._number, os.fsencode(name))).fetchone()
        return Sent(name, *row) if row else None

    def holds_id(self, document_id: str, tags: str) -> bool:
        """Whether a document was acknowledged, under whatever name, with these tags."""
        query = "SELECT 1 FROM sent WHERE document_id = ? AND scope = ? AND tags = ? LIMIT 1"
        return self._connection.execute(query, (document_id, self._number, tags)).fetchone() is not None

    def record(self, files: Sequence[Sent]) -> None:
        """Remember acknowledged files; on disk when it returns."""
        rows = [
            (self._number, os.fsencode(each.name), each.size, each.mtime_ns, each.tags, each.document_id)
            for each in files
        ]
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO sent VALUES (?, ?, ?, ?, ?, ?)", rows)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > _FORMAT:
            raise sqlite3.OperationalError(f"written by a newer version (format {version})")
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection
