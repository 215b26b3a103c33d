"""Reserves ids that a run of `index` is about to write, so that two runs don't replace each other's pictures."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from executors.cli.journal import Claim, JournalScope, Sent


def reserve(scope: JournalScope, files: Sequence[Sent]) -> dict[str, Claim]:
    """Reserve the ids of files; return those that are taken, each with the file that has it.

    An id is taken if a living process reserved it for another folder's file with another content.
    """
    taken: dict[str, Claim] = {}
    connection = scope.connection
    query = (
        "SELECT theirs.folder, name, digest, process FROM scope AS ours, reserved, scope AS theirs "
        "WHERE ours.number = ? AND document_id = ? AND theirs.number = reserved.scope AND theirs.number != ours.number "
        "AND theirs.index_uuid = ours.index_uuid AND theirs.collection = ours.collection"
    )
    with _unsynced(connection):
        for each in files:
            for folder, name, digest, process in connection.execute(query, (scope.number, each.document_id)).fetchall():
                if digest != each.digest and _is_alive(process):
                    sent = Sent(os.fsdecode(name), 0, 0, "", each.document_id, digest=digest)
                    taken[each.document_id] = Claim(os.fsdecode(folder), sent)
        connection.executemany(
            "INSERT OR REPLACE INTO reserved (scope, document_id, name, digest, process) VALUES (?, ?, ?, ?, ?)",
            [
                (scope.number, each.document_id, os.fsencode(each.name), each.digest, os.getpid())
                for each in files
                if each.document_id not in taken
            ],
        )
    return taken


def release(scope: JournalScope, document_ids: Iterable[str]) -> None:
    """Give ids back, once the outcome of their files is known."""
    with _unsynced(scope.connection):
        scope.connection.executemany(
            "DELETE FROM reserved WHERE scope = ? AND document_id = ?", [(scope.number, each) for each in document_ids]
        )


@contextmanager
def _unsynced(connection: sqlite3.Connection) -> Iterator[None]:
    """A transaction without fsync: reservations need not survive a loss of power."""
    connection.execute("PRAGMA synchronous = NORMAL")
    try:
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    finally:
        connection.execute("PRAGMA synchronous = FULL")


def _is_alive(process: int) -> bool:
    return Path("/proc", str(process)).exists()
