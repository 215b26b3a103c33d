"""A cache of the rows that filters match; cached answers are updated with later writes instead of being computed again.

The writer notes which rows each transaction changed. An answer as of one transaction becomes the answer as of a later
one by testing the tags of the rows that changed in between. A search that sees an older moment than the cached answer
computes its own, which is not kept.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from executors.index.embedded.tags.query import matching_rows, rows_that_match
from executors.index.embedded.tags.rowsets import Rows, as_rowset, difference, is_in, union
from executors.index.filters import And, Filter

_Key: TypeAlias = tuple[int, Filter]

_EVERYTHING: Final = And(())
_MOST_BYTES: Final = 256 * 1024 * 1024
_MOST_NOTED_ROWS: Final = 65_536
_MOST_NOTED_TRANSACTIONS: Final = 8_192
# Measured: the time to read and test the tags of one document. If this times the number of changed rows is more than a
# new computation takes, the answer is computed again.
_CHECK_SECONDS: Final = 10e-6
# The approximate size of an entry besides its rows: the filter, the lock, the table.
_ENTRY_BYTES: Final = 2_048


@dataclass(slots=True)
class _Entry:
    """An answer as of a transaction, and how long it took to compute. One search at a time works on it, under `lock`."""

    rows: Rows | None = None
    sequence: int = -1
    seconds: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def bytes_held(self) -> int:
        return _ENTRY_BYTES + (0 if self.rows is None else self.rows.nbytes)


class FilterCache:
    """Answers to filters; the least recently used ones are dropped. Any thread may use it.

    Args:
        sequence: the last transaction that was committed before the first one that is noted.
        max_bytes: of all answers together.
    """

    def __init__(self, sequence: int, max_bytes: int = _MOST_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._bytes = 0
        self._noted_to = sequence
        # The log covers everything after this transaction, up to `_noted_to`.
        self._noted_from = sequence
        self._log: deque[tuple[int, dict[int, Rows]]] = deque()
        self._logged_rows = 0

    @property
    def entries(self) -> int:
        """How many answers are kept."""
        return len(self._entries)

    @property
    def bytes_held(self) -> int:
        """The approximate memory of all answers."""
        return self._bytes

    def note(self, sequence: int, changed: Mapping[int, Iterable[int]] | None) -> None:
        """Record a committed transaction. Call it once for each, in order, also if nothing changed.

        Args:
            sequence: the transaction's.
            changed: by collection number, the rows that were added, removed, or given other tags. None: any answer may
                differ (the index was rebuilt).
        """
        rows = {number: as_rowset(np.fromiter(each, dtype=np.int64)) for number, each in (changed or {}).items()}
        with self._lock:
            if changed is None or sequence != self._noted_to + 1:
                # The changes of this transaction, or of one that was skipped, are unknown, so no earlier answer can be
                # updated.
                self._log.clear()
                self._logged_rows = 0
                self._noted_from = sequence
            else:
                self._log.append((sequence, rows))
                self._logged_rows += sum(map(len, rows.values()))
            self._noted_to = sequence
            while self._logged_rows > _MOST_NOTED_ROWS or len(self._log) > _MOST_NOTED_TRANSACTIONS:
                self._noted_from, oldest = self._log.popleft()
                self._logged_rows -= sum(map(len, oldest.values()))

    def rows(self, connection: sqlite3.Connection, sequence: int, collection: int, where: Filter) -> Rows:
        """The rows of the documents that match; ascending int64, read-only.

        Args:
            connection: inside a transaction.
            sequence: the last transaction that it sees.
            collection: the collection's number.
            where: from `parse_filter`.
        """
        key = (collection, where)
        entry = self._entry(key)
        with entry.lock:
            if entry.rows is None or entry.sequence < sequence:
                return self._bring_up(entry, connection, sequence, key)
            if entry.sequence == sequence:
                return entry.rows
        # The cached answer is of a later moment than this search.
        return self._computed(connection, sequence, key)

    def _entry(self, key: _Key) -> _Entry:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry()
                self._bytes += entry.bytes_held
            self._entries.move_to_end(key)
            return entry

    def _bring_up(self, entry: _Entry, connection: sqlite3.Connection, sequence: int, key: _Key) -> Rows:
        """Update the entry's answer to `sequence`; the caller holds its lock."""
        changed = None if entry.rows is None else self._changed(key[0], entry.sequence, sequence)
        if entry.rows is None or changed is None or len(changed) * _CHECK_SECONDS > entry.seconds:
            began = time.perf_counter()
            rows = self._computed(connection, sequence, key)
            seconds = time.perf_counter() - began
        else:
            rows = _with_changes(entry.rows, changed, rows_that_match(connection, key[0], changed, key[1]))
            seconds = entry.seconds
        rows.setflags(write=False)
        self._keep(key, entry, rows, sequence, seconds)
        return rows

    def _computed(self, connection: sqlite3.Connection, sequence: int, key: _Key) -> Rows:
        collection, where = key
        if where == _EVERYTHING:
            return matching_rows(connection, collection, where)
        return matching_rows(
            connection, collection, where, lambda: self.rows(connection, sequence, collection, _EVERYTHING)
        )

    def _changed(self, collection: int, after: int, to: int) -> Rows | None:
        """The rows that changed after one transaction and up to another; None if that is no longer known, or not yet."""
        with self._lock:
            if after < self._noted_from or to > self._noted_to:
                return None
            noted = []
            for sequence, rows in reversed(self._log):
                if sequence <= after:
                    break
                if sequence <= to and collection in rows:
                    noted.append(rows[collection])
        return union(noted)

    def _keep(self, key: _Key, entry: _Entry, rows: Rows, sequence: int, seconds: float) -> None:
        with self._lock:
            is_kept = self._entries.get(key) is entry
            if is_kept:
                self._bytes -= entry.bytes_held
            entry.rows, entry.sequence, entry.seconds = rows, sequence, seconds
            if is_kept:
                self._bytes += entry.bytes_held
            while self._bytes > self._max_bytes and self._entries:
                _, forgotten = self._entries.popitem(last=False)
                self._bytes -= forgotten.bytes_held


def _with_changes(rows: Rows, changed: Rows, matching: Rows) -> Rows:
    """The rows with the changed ones added or removed; the same array if nothing differs."""
    before = changed[is_in(changed, rows)]
    if np.array_equal(before, matching):
        return rows
    kept = difference(rows, before)
    if len(matching) and (not len(kept) or matching[0] > kept[-1]):
        # New documents have the highest rows.
        return np.concatenate((kept, matching))
    return union([kept, matching])
