"""The checkpointer: it decides when SQLite's log is moved into the database file."""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

EVERY_CHANGES: Final = 4_096
MOST_FRAMES: Final = 65_536

_log = logging.getLogger(__name__)


class Checkpointer:
    """Moves the log into the file, on the writer's thread, after a commit has been published and acknowledged.

    Searches never wait for it. SQLite's automatic checkpoint would run inside the commit, while a committed document is
    not yet in memory.

    Args:
        connection: the writing connection.
        every_changes: how many changed rows the log may hold before it is moved.
        most_frames: the length of the log, in pages, from which on it must start over, which waits for running
            searches. Without this limit, searches that overlap without a gap would let the log grow forever.
    """

    def __init__(
        self, connection: sqlite3.Connection, every_changes: int = EVERY_CHANGES, most_frames: int = MOST_FRAMES
    ) -> None:
        self._connection = connection
        self._every = every_changes
        self._most = most_frames
        self._changes_before = connection.total_changes

    @property
    def is_due(self) -> bool:
        """Whether enough has changed since the last checkpoint."""
        return self._connection.total_changes - self._changes_before >= self._every

    def run(self) -> None:
        """Run a checkpoint now. If the disk fails, nothing is lost: the log keeps the data, and a later call tries
        again.
        """
        self._changes_before = self._connection.total_changes
        try:
            _, frames, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames > self._most:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            _log.warning("the log could not be moved into the database file yet: %s", error)
