"""When the log is moved into the database file."""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

EVERY_CHANGES: Final = 4_096
MOST_FRAMES: Final = 65_536

_log = logging.getLogger(__name__)


class Checkpointer:
    """Moves the log into the file from the writer's thread, after what was committed has been published and acknowledged.

    Searches never wait for it. SQLite's automatic checkpoint would run inside the commit, while a committed document is
    not yet in memory.

    Args:
        connection: the writing connection.
        every_changes: how many changed rows the log may hold before it is moved.
        most_frames: from how many pages on the log has to start over, which waits for the searches that are running;
            else searches that overlap without a gap would let it grow for ever.
    """

    def __init__(
        self, connection: sqlite3.Connection, every_changes: int = EVERY_CHANGES, most_frames: int = MOST_FRAMES
    ) -> None:
        self._connection = connection
        self._every = every_changes
        self._most = most_frames
        self._changes_before = connection.total_changes

    def run_if_due(self) -> None:
        """Checkpoint if enough has changed. A failing disk loses nothing: the log keeps it, and the next time comes."""
        changes = self._connection.total_changes
        if changes - self._changes_before < self._every:
            return
        self._changes_before = changes
        self.run()

    def run(self) -> None:
        """Checkpoint now."""
        try:
            _, frames, _ = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if frames > self._most:
                self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        except sqlite3.Error as error:
            _log.warning("the log could not be moved into the database file yet: %s", error)
