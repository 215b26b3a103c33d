"""The journal of imports: how far each is, so that a later run can continue. It survives any interruption."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from executors.cli.journal import Journal
from executors.cli.transfer.import_reader import Place
from executors.cli.transfer.import_state import ImportState, LineResult, Tally
from executors.errors import error_from_json

# How often the state is written. After a kill, the lines of so long a time are sent twice.
_INTERVAL_S: Final = 0.25
# How many failed lines are stored, to be shown again after an interruption.
_KEPT_FAILURES: Final = 20


@dataclass(frozen=True, slots=True)
class ImportKey:
    """The identity of an import: a file, its size and time, and the index.

    Attributes:
        index_uuid: the identity of the index.
        collection: the collection for all documents; empty if each keeps its own.
        path: the absolute path of the file.
        size: its size in bytes.
        mtime_ns: time of its last change, in nanoseconds since 1970.
    """

    index_uuid: str
    collection: str
    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, index_uuid: str, collection: str | None, path: Path) -> ImportKey:
        """The key of a file as it is now.

        Raises:
            OSError: the file does not exist.
        """
        found = path.stat()
        return cls(index_uuid, collection or "", os.path.realpath(path), found.st_size, found.st_mtime_ns)


class ImportJournal:
    """Stores the state of one import in the user's journal; without a journal, it does nothing.

    `error` says why the journal failed, if it did. The documents are then safe in the index; a later run only sends more
    of them again.
    """

    def __init__(self, journal: Journal | None, key: ImportKey | None) -> None:
        self._connection = journal.connection if journal is not None and key is not None else None
        self._key = key
        self._kept_s = 0.0
        self._latest: ImportState | None = None
        self.error: str | None = None

    def find(self) -> ImportState | None:
        """The state of an earlier run with this file, if the file has not changed since."""
        if self._connection is None or self._key is None:
            return None
        query = "SELECT size, mtime_ns, state FROM imports WHERE index_uuid = ? AND collection = ? AND path = ?"
        try:
            row = self._connection.execute(query, self._primary()).fetchone()
            if row is None or row[:2] != (self._key.size, self._key.mtime_ns):
                return None
            return _state_from_json(json.loads(row[2]))
        except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
            self.error = f"{type(error).__name__}: {error}"
            return None

    def keep(self, state: ImportState) -> None:
        """Store a state; it is on disk with the next call after a quarter of a second, or with `flush`."""
        self._latest = state
        if time.monotonic() - self._kept_s >= _INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Store the latest state; it is on disk when this returns."""
        if self._latest is None or self._key is None:
            return
        row = (*self._primary(), self._key.size, self._key.mtime_ns, json.dumps(_state_to_json(self._latest)))
        self._execute("INSERT OR REPLACE INTO imports VALUES (?, ?, ?, ?, ?, ?)", row)
        self._latest, self._kept_s = None, time.monotonic()

    def forget(self) -> None:
        """Remove the state of a complete import, so that the next one starts with the first line."""
        self._latest = None
        if self._key is not None:
            query = "DELETE FROM imports WHERE index_uuid = ? AND collection = ? AND path = ?"
            self._execute(query, self._primary())

    def _execute(self, query: str, row: tuple[Any, ...]) -> None:
        if self._connection is None:
            return
        try:
            with self._connection:
                self._connection.execute(query, row)
        except sqlite3.Error as error:
            self.error = str(error)
            self._connection = None

    def _primary(self) -> tuple[str, str, bytes]:
        assert self._key is not None
        return self._key.index_uuid, self._key.collection, os.fsencode(self._key.path)


def _state_to_json(state: ImportState) -> dict[str, Any]:
    failures = [
        {"line": each.line, "id": each.id, "collection": each.collection, "error": each.error and each.error.to_json()}
        for each in state.tally.failures[:_KEPT_FAILURES]
    ]
    return {
        "place": asdict(state.place),
        "counts": dict(state.tally.counts),
        "codes": dict(state.tally.codes),
        "failures": failures,
        "last": state.last,
    }


def _state_from_json(given: dict[str, Any]) -> ImportState:
    failures = [
        LineResult(each["line"], each["id"], each["collection"], "failed", error_from_json(each["error"]))
        for each in given["failures"]
    ]
    tally = Tally(Counter(given["counts"]), Counter(given["codes"]), failures)
    last = tuple(given["last"]) if given["last"] else None
    return ImportState(Place(**given["place"]), tally, last)
