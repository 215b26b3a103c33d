"""Tombstones and drops: a record of what was removed, so that a late write neither restores nor duplicates a document."""

from __future__ import annotations

import sqlite3
from typing import Final

from executors.index.write_rules import Held

_PRUNED_AT_ONCE: Final = 1_000


class Removals:
    """The tombstones of documents and the drops of collections, inside one transaction.

    Args:
        connection: the writing connection.
        now_ms: the wall clock at the beginning.
    """

    def __init__(self, connection: sqlite3.Connection, now_ms: int) -> None:
        self._connection = connection
        self._now_ms = now_ms
        self._drops: dict[str, str] = {}

    def tombstone(self, collection: str, document_id: str) -> Held | None:
        """The tombstone of an id that has no document; None if there is none."""
        row = self._connection.execute(
            "SELECT version, reason, result FROM tombstones WHERE collection = ? AND id = ?", (collection, document_id)
        ).fetchone()
        return None if row is None else Held(False, *row)

    def remember(self, collection: str, document_id: str, tombstone: Held) -> None:
        """Remember a delete or a supersede."""
        self._connection.execute(
            "INSERT OR REPLACE INTO tombstones (collection, id, version, reason, result, recorded_at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (collection, document_id, tombstone.version, tombstone.operation, tombstone.result, self._now_ms),
        )

    def forget(self, collection: str, document_id: str) -> None:
        """Forget a tombstone, because a newer write of the id was accepted."""
        self._connection.execute("DELETE FROM tombstones WHERE collection = ? AND id = ?", (collection, document_id))

    def prune(self, older_than_ms: int) -> bool:
        """Forget records made before that time, a limited number per call; returns whether there may be more."""
        cursor = self._connection.execute(
            "DELETE FROM tombstones WHERE (collection, id) IN"
            " (SELECT collection, id FROM tombstones WHERE recorded_at < ? LIMIT ?)",
            (older_than_ms, _PRUNED_AT_ONCE),
        )
        self._connection.execute("DELETE FROM drops WHERE recorded_at < ?", (older_than_ms,))
        return cursor.rowcount == _PRUNED_AT_ONCE

    def note_drop(self, name: str, version: str) -> None:
        """Remember a drop, so that writes to a collection of that name which are not newer are refused."""
        self._connection.execute(
            "INSERT INTO drops (name, version, recorded_at) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE"
            " SET version = max(version, excluded.version), recorded_at = excluded.recorded_at",
            (name, version, self._now_ms),
        )
        self._drops.pop(name, None)

    def dropped_at(self, name: str) -> str:
        """The version of the last drop of a collection of that name; empty if none is remembered."""
        if name not in self._drops:
            row = self._connection.execute("SELECT version FROM drops WHERE name = ?", (name,)).fetchone()
            self._drops[name] = row[0] if row else ""
        return self._drops[name]
