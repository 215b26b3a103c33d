"""The file format of a shard: its tables, its format number, and the upgrade of older formats.

A document is one row of `documents`. Its vector and its thumbnail are in tables of their own, so that scans of tags
stay fast. A row number is never used twice in one file, and the vector of a row never changes: replacing a document
gives it a new row. So a structure in memory that covers the rows up to some number lacks the later rows and may still
hold removed ones, but is right in everything else. `epochs` tells whether such a structure belongs to this file's past
at all: each run of a process that writes adds one, with a random name and the first sequence number that it wrote (each
transaction increments the number).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from executors.errors import VisualSearchError
from executors.index.embedded.tags.index import TagWriter

FORMAT_VERSION: Final = 2
# "VSFi" identifies the file to tools such as `file` and SQLite's own.
APPLICATION_ID: Final = 0x56534669

Migration: TypeAlias = Callable[[sqlite3.Connection], None]

# New in format 2. drops: for each name its newest drop, whether or not this shard knew the collection, so that older
# writes are refused. tag_keys, tag_values: the tag index, see tags/entries.py. `value` has no declared type, so that
# each value keeps its own.
_TABLES_OF_2: Final = (
    "CREATE INDEX documents_by_collection ON documents (collection)",
    "CREATE TABLE drops (name TEXT PRIMARY KEY, version TEXT NOT NULL, recorded_at INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE tag_keys (
        number INTEGER PRIMARY KEY,
        collection INTEGER NOT NULL,
        path TEXT NOT NULL,
        UNIQUE (collection, path)
    )""",
    """CREATE TABLE tag_values (
        key INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        value NOT NULL,
        row INTEGER NOT NULL,
        PRIMARY KEY (key, kind, value, row)
    ) WITHOUT ROWID""",
)

# Text compares by code points: SQLite's BINARY collation compares bytes, and the order of UTF-8 bytes is the order of
# code points.
_TABLES: Final = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "CREATE TABLE epochs (first_sequence INTEGER PRIMARY KEY, token TEXT NOT NULL, started_at INTEGER NOT NULL)",
    # dropped_version: NULL for an existing collection. A dropped one is renamed to a name that no collection can have
    # (NUL and its number), so that its own name is free, until its last document is removed.
    """CREATE TABLE collections (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        model_id TEXT NOT NULL,
        dimension INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        dropped_version TEXT
    )""",
    # operation: 'put' or 'update', the write that set `version` and `result`. digest: of the content without its
    # version; content_digest: the same without the tags, so that an update of tags has to read neither vector nor
    # thumbnail.
    """CREATE TABLE documents (
        row INTEGER PRIMARY KEY,
        collection INTEGER NOT NULL REFERENCES collections (number),
        id TEXT NOT NULL,
        version TEXT NOT NULL,
        operation TEXT NOT NULL,
        result TEXT NOT NULL,
        digest BLOB NOT NULL,
        content_digest BLOB NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        parent TEXT,
        box TEXT,
        uri TEXT,
        tags TEXT NOT NULL,
        text TEXT,
        UNIQUE (collection, id)
    )""",
    "CREATE INDEX documents_by_parent ON documents (collection, parent) WHERE parent IS NOT NULL",
    # embedding: float32, little-endian; checksum: see encoding.checksum_of.
    "CREATE TABLE vectors (row INTEGER PRIMARY KEY, checksum INTEGER NOT NULL, embedding BLOB NOT NULL)",
    "CREATE TABLE thumbnails (row INTEGER PRIMARY KEY, jpeg BLOB NOT NULL)",
    # Tombstones of ids that have no document here: the write that removed the document, or would have removed it. The
    # collection is given by its name, because a shard receives deletes for collections that it has never seen.
    """CREATE TABLE tombstones (
        collection TEXT NOT NULL,
        id TEXT NOT NULL,
        version TEXT NOT NULL,
        reason TEXT NOT NULL,
        result TEXT NOT NULL,
        recorded_at INTEGER NOT NULL,
        PRIMARY KEY (collection, id)
    ) WITHOUT ROWID""",
    "CREATE INDEX tombstones_by_age ON tombstones (recorded_at)",
    *_TABLES_OF_2,
)


def _to_format_2(connection: sqlite3.Connection) -> None:
    # A later format that changes the tag index must keep this step's way of filling it, or build the index again
    # itself.
    connection.execute("ALTER TABLE collections ADD COLUMN dropped_version TEXT")
    for statement in _TABLES_OF_2:
        connection.execute(statement)
    TagWriter(connection).rebuild()


# The upgrade steps, each from the format version that is its key to the next one. A step runs inside the transaction
# that raises the number.
MIGRATIONS: Final[Mapping[int, Migration]] = {1: _to_format_2}


def prepare(
    connection: sqlite3.Connection,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    target: int = FORMAT_VERSION,
) -> None:
    """Create the tables in an empty file, upgrade an older format, or accept the current one.

    Raises:
        VisualSearchError: `store_invalid` for a newer format, or a file of another kind.
        sqlite3.Error: the file can't be read or written.
    """
    application_id = _pragma(connection, "application_id")
    found = _pragma(connection, "user_version")
    if application_id == 0 and found == 0 and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        _in_transaction(connection, _create)
        return
    if application_id != APPLICATION_ID:
        raise VisualSearchError("store_invalid", "the shard's file was not made by this software")
    if found > target:
        raise VisualSearchError(
            "store_invalid",
            f"the shard's file has format {found}, this software knows up to {target}: use the newer software",
            found=found,
            known=target,
        )
    for version in range(found, target):
        migration = migrations.get(version)
        if migration is None:
            raise VisualSearchError(
                "store_invalid",
                f"there is no upgrade from format {version} to {version + 1}",
                found=found,
                known=target,
            )
        _in_transaction(connection, _raising_version(migration, version + 1))


def _create(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    connection.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?)",
        [
            ("format_version", FORMAT_VERSION),
            ("store_id", secrets.token_hex(16)),
            ("sequence", 0),
            ("next_row", 1),
            ("last_version", ""),
            ("populated", 0),
        ],
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def _raising_version(migration: Migration, version: int) -> Migration:
    def run(connection: sqlite3.Connection) -> None:
        migration(connection)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format_version'", (version,))
        connection.execute(f"PRAGMA user_version = {version}")

    return run


def _in_transaction(connection: sqlite3.Connection, change: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        change(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
