"""Connections to a shard's SQLite file: one that writes, several that read, and the errors that they raise.

Only the writing connection ever writes or checkpoints; this also avoids the WAL-reset defect of SQLite before 3.51.3
(https://www.sqlite.org/wal.html#walresetbug). No other code in this process may open and close the files of a database
in use: closing any descriptor of them drops SQLite's own locks (POSIX).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from executors.errors import VisualSearchError

T = TypeVar("T")

DATABASE_NAME: Final = "index.sqlite3"
# The smallest page size wastes the least space on vectors of the usual dimensions and on thumbnails, whose ends fill
# pages of their own. It also writes the least for one document: 14.6 KB for a document of 1280 numbers with a thumbnail
# of 8 KB, against 18.4 KB (8192) and 17 KB (16384), in the same time for a single durable write. Large batches are up
# to 25 % slower.
PAGE_SIZE: Final = 4096
_BUSY_SECONDS: Final = 5.0
_MOST_FAULTS: Final = 20
_VALUES_AT_ONCE: Final = 500
# The fixed values come first, then some of the others.
_MARKS: Final = [f"?{number}" for number in range(1, _VALUES_AT_ONCE + 10)]


def database_path(folder: Path) -> Path:
    """The path of a shard's database file."""
    return folder / DATABASE_NAME


def was_stopped_uncleanly(folder: Path) -> bool:
    """Whether the last process did not close the file: a clean close moves the log into it and removes the log."""
    return folder.joinpath(f"{DATABASE_NAME}-wal").exists()


def connect_writer(folder: Path) -> sqlite3.Connection:
    """Open the connection that writes, in WAL mode with full synchronisation, creating the file if there is none.

    Raises:
        VisualSearchError: `store_invalid`, `storage_unavailable`.
    """
    with database_errors(folder):
        # This module begins and ends transactions itself; Python's implicit transactions are off.
        connection = sqlite3.connect(
            database_path(folder), isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
        )
        try:
            _set_up_writer(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def connect_reader(folder: Path) -> sqlite3.Connection:
    """Open a connection that can only read; the writing one must be open already.

    Raises:
        VisualSearchError: `store_invalid`, `storage_unavailable`.
    """
    with database_errors(folder):
        connection = sqlite3.connect(
            f"{database_path(folder).absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_BUSY_SECONDS,
        )
        # The cache holds the inner pages of a million documents; their leaves come from the system's cache.
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection


def in_batches(
    connection: sqlite3.Connection, query: str, values: Sequence[Any], *fixed: Any
) -> Iterator[tuple[Any, ...]]:
    """The rows that a query finds for any number of values; the query runs on a few values at a time.

    Args:
        query: has `{marks}` where the values belong (`IN ({marks})`), and `?1`, `?2` and so on for the fixed ones.
        fixed: the same for each batch.
    """
    for start in range(0, len(values), _VALUES_AT_ONCE):
        some = values[start : start + _VALUES_AT_ONCE]
        marks = ", ".join(_MARKS[len(fixed) : len(fixed) + len(some)])
        yield from connection.execute(query.format(marks=marks), (*fixed, *some))


def structural_faults(connection: sqlite3.Connection, *, full: bool) -> list[str]:
    """The faults that SQLite's own check finds in the file, at most 20 lines; `full` checks the indexes, too."""
    check = "integrity_check" if full else "quick_check"
    try:
        lines = [str(row[0]) for row in connection.execute(f"PRAGMA {check}({_MOST_FAULTS})")]
    except sqlite3.DatabaseError as error:
        if as_visual_search_error(error).code != "store_invalid":
            raise
        return [str(error)]
    return [] if lines == ["ok"] else lines


def as_visual_search_error(error: sqlite3.Error, folder: Path | None = None) -> VisualSearchError:
    """Translate an error: a damaged file is `store_invalid`, every other failure of the disk is `storage_unavailable`."""
    reason = str(error)
    # Python, not SQLite, refuses text that is not UTF-8, so this error has no SQLite code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    if (code & 0xFF) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return VisualSearchError("store_invalid", f"the shard's file is damaged: {reason}", reason=reason)
    if folder is None:
        return VisualSearchError("storage_unavailable", f"the disk failed: {reason}", reason=reason)
    message = f"the disk of {str(folder)!r} failed: {reason}"
    return VisualSearchError("storage_unavailable", message, reason=reason, folder=str(folder))


@contextmanager
def database_errors(folder: Path | None = None) -> Iterator[None]:
    """Turn SQLite's errors into errors that a user may see. A wrong statement is a defect and is raised unchanged.

    Args:
        folder: the shard's, to be named in the error.
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
            raise
        raise as_visual_search_error(error, folder) from error
    except sqlite3.DatabaseError as error:
        if type(error) is not sqlite3.DatabaseError:
            raise
        raise as_visual_search_error(error, folder) from error


class ReadConnections:
    """A pool of reading connections, as many as are used at once. The one used last is used next, since its cache is
    the warmest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: list[sqlite3.Connection] = []

    def run(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Call `read` inside a transaction, so that everything it reads belongs to one moment."""
        with database_errors(self._folder):
            connection = self._take()
            try:
                connection.execute("BEGIN")
                return read(connection)
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._idle.append(connection)

    def close(self) -> None:
        """Close all connections. No read may be running or start afterwards."""
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect_reader(self._folder)


def _set_up_writer(connection: sqlite3.Connection) -> None:
    # These two pragmas only take effect while the file is empty. Incremental vacuum can give disk space back later
    # without a rewrite.
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    # On macOS, a flush reaches the disk only with these two pragmas; elsewhere they have no effect.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    # The writer runs checkpoints itself, after it has published and acknowledged: see write/writer.py.
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    # After a burst of writes, the log gives its space back when it starts over.
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA secure_delete = FAST")
    connection.execute("PRAGMA cache_size = -32768")
    connection.execute("PRAGMA temp_store = MEMORY")
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    synchronous = connection.execute("PRAGMA synchronous").fetchone()[0]
    if mode != "wal" or synchronous != 2:
        raise VisualSearchError(
            "storage_unavailable",
            f"the file system does not allow a durable log (journal mode {mode}, synchronous {synchronous})",
        )
