"""The journal: which files were acknowledged by which index, and as what. It survives any interruption."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from executors.index.versions import version_at

_FORMAT: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS scope (
    number INTEGER PRIMARY KEY, index_uuid TEXT NOT NULL, collection TEXT NOT NULL, folder BLOB NOT NULL,
    id_mode TEXT NOT NULL, UNIQUE (index_uuid, collection, folder, id_mode));
CREATE TABLE IF NOT EXISTS sent (
    scope INTEGER NOT NULL, name BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    tags TEXT NOT NULL, document_id TEXT NOT NULL, version TEXT NOT NULL DEFAULT '', digest TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (scope, name)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS sent_by_id ON sent (document_id);
CREATE TABLE IF NOT EXISTS reserved (
    scope INTEGER NOT NULL, document_id TEXT NOT NULL, name BLOB NOT NULL, digest TEXT NOT NULL, process INTEGER NOT NULL,
    PRIMARY KEY (document_id, scope)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS imports (
    index_uuid TEXT NOT NULL, collection TEXT NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, state TEXT NOT NULL, PRIMARY KEY (index_uuid, collection, path)) WITHOUT ROWID;
"""
# Format 1 had no versions. What it acknowledged was in the index when the journal was last written (`until`, see
# `Sent.stands`). If two folders sent the same id, it is not known whose document is there.
_MIGRATION: Final = """
ALTER TABLE sent ADD COLUMN version TEXT NOT NULL DEFAULT '';
ALTER TABLE sent ADD COLUMN digest TEXT NOT NULL DEFAULT '';
UPDATE sent SET version = '{until}' WHERE NOT EXISTS (
    SELECT 1 FROM scope AS ours, sent AS other, scope AS theirs
    WHERE ours.number = sent.scope AND other.document_id = sent.document_id AND other.scope != sent.scope
    AND theirs.number = other.scope AND theirs.index_uuid = ours.index_uuid AND theirs.collection = ours.collection);
"""
_COLUMNS: Final = "name, size, mtime_ns, tags, document_id, version, digest"
# Stands before a time in place of a version.
_UNTIL: Final = "<"
# Stands before the version of a document whose tags another client has changed.
_CHANGED: Final = "~"


@dataclass(frozen=True, slots=True)
class Sent:
    """A file as it was when it was acknowledged.

    Attributes:
        name: its path relative to the folder (lone surrogates for bytes that are not UTF-8).
        size: bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
        tags: digest of the tags that were sent with it; empty if there were none.
        document_id: its id in the index.
        version: of the document in the index; empty if it is not known. `~` before it says that the document has this
            file's picture, but tags that another client has written since. An earlier release did not store versions:
            there, `<` stands before the beginning of a version that no document acknowledged by then exceeds.
        digest: SHA-256 of the file, in hexadecimal digits; empty if it is not known.
    """

    name: str
    size: int
    mtime_ns: int
    tags: str
    document_id: str
    version: str = ""
    digest: str = ""

    def stands(self, version: str | None) -> bool:
        """Whether a document of this version is the one that was acknowledged, with the same tags."""
        if not version or not self.version:
            return False
        if self.version.startswith(_UNTIL):
            limit = self.version[len(_UNTIL) :]
            return version[: len(limit)] <= limit
        return version == self.version

    def has_picture_of(self, version: str | None) -> bool:
        """Whether a document of this version has this file's picture, with any tags."""
        return self.stands(version) or (bool(version) and self.version == with_changed_tags(version or ""))


def with_changed_tags(version: str) -> str:
    """Return the version that a journal stores for a document whose tags another client has changed."""
    return f"{_CHANGED}{version}"


@dataclass(frozen=True, slots=True)
class Claim:
    """A file, of any folder, that was acknowledged under an id."""

    folder: str
    sent: Sent


def tags_digest(tags: Mapping[str, Any]) -> str:
    """A short digest of tags, independent of their order; empty if there are none."""
    if not tags:
        return ""
    return hashlib.sha256(json.dumps(tags, sort_keys=True).encode()).hexdigest()[:16]


class Journal:
    """One SQLite file for all folders and services of a user. Several processes may use it at once.

    Args:
        path: the file; it is created, with its folder, if it is missing. A damaged file is renamed, and a new one is
            begun; files are then sent again.

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
        """The part of the journal for one folder and one collection of one index."""
        key = (index_uuid, collection, os.fsencode(folder), id_mode)
        with self._connection:
            self._connection.execute(
                "INSERT OR IGNORE INTO scope (index_uuid, collection, folder, id_mode) VALUES (?, ?, ?, ?)", key
            )
        query = "SELECT number FROM scope WHERE index_uuid = ? AND collection = ? AND folder = ? AND id_mode = ?"
        return JournalScope(self._connection, int(self._connection.execute(query, key).fetchone()[0]))

    def forget(self, index_uuid: str, collection: str, document_ids: Iterable[str]) -> None:
        """Remove documents that were deleted from an index, so that a later run sends their files again."""
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
    """The acknowledged files of one folder."""

    def __init__(self, connection: sqlite3.Connection, number: int) -> None:
        self._connection = connection
        self._number = number

    @property
    def connection(self) -> sqlite3.Connection:
        """The open file, for what else is remembered in it."""
        return self._connection

    @property
    def number(self) -> int:
        """The number of this folder in the file."""
        return self._number

    def find(self, name: str) -> Sent | None:
        """The file as it was last acknowledged; None if it never was."""
        query = f"SELECT {_COLUMNS} FROM sent WHERE scope = ? AND name = ?"
        row = self._connection.execute(query, (self._number, os.fsencode(name))).fetchone()
        return _sent(row) if row else None

    def all(self) -> Iterator[Sent]:
        """All acknowledged files, in the order of the bytes of their names."""
        query = f"SELECT {_COLUMNS} FROM sent WHERE scope = ? ORDER BY name"
        for row in self._connection.execute(query, (self._number,)):
            yield _sent(row)

    def claims(self, document_id: str) -> list[Claim]:
        """The files of any folder that were acknowledged under an id of this collection."""
        query = (
            f"SELECT theirs.folder, {_COLUMNS} FROM scope AS ours, sent, scope AS theirs "
            "WHERE ours.number = ? AND sent.document_id = ? AND theirs.number = sent.scope "
            "AND theirs.index_uuid = ours.index_uuid AND theirs.collection = ours.collection"
        )
        rows = self._connection.execute(query, (self._number, document_id))
        return [Claim(os.fsdecode(row[0]), _sent(row[1:])) for row in rows]

    def siblings(self) -> list[JournalScope]:
        """The scopes of the same folder with other prefixes, so that its files have other ids there."""
        query = (
            "SELECT theirs.number FROM scope AS ours, scope AS theirs WHERE ours.number = ? "
            "AND theirs.number != ours.number AND theirs.folder = ours.folder "
            "AND substr(ours.id_mode, 1, 4) = 'path' AND substr(theirs.id_mode, 1, 4) = 'path' "
            "AND theirs.index_uuid = ours.index_uuid AND theirs.collection = ours.collection ORDER BY theirs.number"
        )
        rows = self._connection.execute(query, (self._number,)).fetchall()
        return [JournalScope(self._connection, int(row[0])) for row in rows]

    def record(self, files: Sequence[Sent]) -> None:
        """Store acknowledged files; they are on disk when it returns."""
        rows = [
            (
                self._number,
                os.fsencode(each.name),
                each.size,
                each.mtime_ns,
                each.tags,
                each.document_id,
                each.version,
                each.digest,
            )
            for each in files
        ]
        query = f"INSERT OR REPLACE INTO sent (scope, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        with self._connection:
            self._connection.executemany(query, rows)

    def forget(self, names: Iterable[str]) -> None:
        """Remove files that are gone."""
        query = "DELETE FROM sent WHERE scope = ? AND name = ?"
        with self._connection:
            self._connection.executemany(query, [(self._number, os.fsencode(each)) for each in names])


def _sent(row: Sequence[Any]) -> Sent:
    """Make the entry from a row of _COLUMNS."""
    name, size, mtime_ns, tags, document_id, version, digest = row
    return Sent(os.fsdecode(name), size, mtime_ns, tags, document_id, version, digest)


def _open(path: Path) -> sqlite3.Connection:
    written_ms = _last_write_ms(path)
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > _FORMAT:
            raise sqlite3.OperationalError(f"written by a newer version (format {version})")
        if version == 1:
            _migrate(connection, written_ms)
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version = {_FORMAT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, written_ms: int) -> None:
    """Convert a journal of format 1 in one transaction, even if another process opens it at the same time."""
    until = f"{_UNTIL}{version_at(written_ms)}"
    connection.isolation_level = None
    try:
        connection.execute("BEGIN IMMEDIATE")
        if int(connection.execute("PRAGMA user_version").fetchone()[0]) == 1:
            for statement in _MIGRATION.format(until=until).split(";"):
                connection.execute(statement)
            connection.execute("PRAGMA user_version = 2")
        connection.execute("COMMIT")
    finally:
        connection.isolation_level = "DEFERRED"


def _last_write_ms(path: Path) -> int:
    """When a journal was last written, in milliseconds since 1970; 0 if it does not exist."""
    times = [0]
    for suffix in ("", "-wal"):
        with suppress(OSError):
            times.append(Path(f"{path}{suffix}").stat().st_mtime_ns // 1_000_000)
    return max(times)
