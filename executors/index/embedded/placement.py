"""Whether the files that a shard has open are still the ones at their paths.

Somebody may move the folder, put a backup in its place, or delete it while the shard runs. The open files live on where no
start will find them: what is written into them is lost. So they are compared with their paths by device and inode before
anything is acknowledged or answered, and, since a backup may be copied over the same files, by size and time of change before
anything is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeAlias

from executors.errors import VisualSearchError
from executors.index.embedded.database import DATABASE_NAME
from executors.index.embedded.lock import LOCK_NAME

_File: TypeAlias = tuple[int, int]
_State: TypeAlias = tuple[int, int]

_WRITTEN: Final = (DATABASE_NAME, f"{DATABASE_NAME}-wal")
_OPEN: Final = (*_WRITTEN, f"{DATABASE_NAME}-shm", LOCK_NAME)


class Placement:
    """Where the open files of one shard are; once they are somewhere else, it is so for good.

    Args:
        folder: the shard's own, whose database is open in WAL mode and was read from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = [folder / name for name in _OPEN]
        self._written = [folder / name for name in _WRITTEN]
        self._files = [_file_at(path) for path in self._paths]
        self._states: list[_State | None] = []
        self._error: VisualSearchError | None = None
        self.note_written()

    def check(self) -> None:
        """Compare the open files with what is at their paths.

        Raises:
            VisualSearchError: `storage_unavailable`, now or before.
        """
        try:
            moved = self._error is None and [_file_at(path) for path in self._paths] != self._files
        except OSError as error:
            # For a moment, perhaps: no permission, or a disk that does not answer.
            reason = f"the folder {str(self.folder)!r} can't be looked at: {error.strerror}"
            raise VisualSearchError("storage_unavailable", reason, folder=str(self.folder)) from None
        if moved:
            self._fail("was moved, replaced or removed")
        if self._error is not None:
            raise self._error

    def check_unwritten(self) -> None:
        """See `check`; also that only this process has written to the files. For the thread that writes.

        Raises:
            VisualSearchError: `storage_unavailable`.
        """
        self.check()
        if [_state_of(path) for path in self._written] != self._states:
            self._fail("was written to (or its log was checkpointed) by another program")
        self.check()

    def note_written(self) -> None:
        """This process has just written to the files. For the thread that writes."""
        self._states = [_state_of(path) for path in self._written]

    @property
    def lost(self) -> VisualSearchError | None:
        """Why the open files are not the index any more, by a look at them now; None while they are."""
        try:
            self.check()
        except VisualSearchError as error:
            return error
        return None

    def _fail(self, what: str) -> None:
        self._error = VisualSearchError(
            "storage_unavailable",
            f"the folder {str(self.folder)!r} {what} while this shard had it open; nothing is read from it or written to it"
            " any more: put the right folder in its place and restart the flow",
            folder=str(self.folder),
        )


def _file_at(path: Path) -> _File | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _state_of(path: Path) -> _State | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns
