"""Checks that the files a shard has open are still the ones at their paths.

While the shard runs, an operator may move the folder, put a backup in its place, or delete it. The open files then live
on where no later start will find them, and everything written to them is lost. So before anything is acknowledged or
answered, the open files are compared with their paths by device and inode and, since a backup may be copied over the
same files, by size and time of change.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from executors.errors import VisualSearchError
from executors.index.embedded.disk.database import DATABASE_NAME
from executors.index.embedded.disk.folder_lock import LOCK_NAME

_File: TypeAlias = tuple[int, int]
_State: TypeAlias = tuple[int, int]

_WRITTEN: Final = (DATABASE_NAME, f"{DATABASE_NAME}-wal")
_OPEN: Final = (*_WRITTEN, f"{DATABASE_NAME}-shm", LOCK_NAME)

_log = logging.getLogger(__name__)


class Placement:
    """The location of one shard's open files; once they are found to be elsewhere, they count as lost for good.

    Args:
        folder: the shard's own, whose database is open in WAL mode and was read from.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._paths = [folder / name for name in _OPEN]
        self._files = [_file_of(found) for found in self._look()]
        # The state in which this process left the files; None while it writes.
        self._states: list[_State | None] | None = None
        self._error: VisualSearchError | None = None
        self._failing = threading.Lock()
        self.note_written()

    def check(self) -> None:
        """Compare the open files with the files at their paths and, unless this process is writing, with the state in
        which it left them.

        Raises:
            VisualSearchError: `storage_unavailable`, if they differ now or differed before.
        """
        if self._error is None:
            states = self._states
            found = self._look()
            self._compare_files(found)
            # The state is a new object if a write began or ended in the meantime.
            if states is not None and _states_of(found) != states and self._states is states:
                self._fail("was written to (or its log was checkpointed) by another program")
        if self._error is not None:
            raise self._error

    def begin_writing(self) -> None:
        """Note that this process is about to write to the files, until `note_written`. For the writing thread.

        Raises:
            VisualSearchError: see `check`.
        """
        self.check()
        self._states = None

    def note_written(self) -> None:
        """Note that this process has just written to the files. For the writing thread."""
        with suppress(VisualSearchError):
            self._states = _states_of(self._look())

    def check_written(self) -> None:
        """Do what `note_written` and `check` do, with one look at the files. For the writing thread.

        Raises:
            VisualSearchError: see `check`.
        """
        found = self._look()
        self._compare_files(found)
        if self._error is not None:
            raise self._error
        self._states = _states_of(found)

    @property
    def lost(self) -> VisualSearchError | None:
        """The reason why the open files are no longer the index, checked now; None while they are."""
        try:
            self.check()
        except VisualSearchError as error:
            return error
        return None

    def _compare_files(self, found: Sequence[os.stat_result | None]) -> None:
        if [_file_of(each) for each in found] != self._files:
            self._fail("was moved, replaced or removed")

    def _look(self) -> list[os.stat_result | None]:
        return [self._look_at(path) for path in self._paths]

    def _look_at(self, path: Path) -> os.stat_result | None:
        try:
            return path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # This may be temporary: a missing permission, or a disk that does not answer.
            reason = f"the folder {str(self.folder)!r} can't be checked: {error.strerror}"
            raise VisualSearchError("storage_unavailable", reason, folder=str(self.folder)) from None

    def _fail(self, what: str) -> None:
        with self._failing:
            if self._error is not None:
                return
            self._error = VisualSearchError(
                "storage_unavailable",
                f"the folder {str(self.folder)!r} {what} while this shard had it open; nothing is read from it or written to"
                " it any more: put the right folder in its place and restart the flow",
                folder=str(self.folder),
            )
        _log.error("%s", self._error)


def _file_of(found: os.stat_result | None) -> _File | None:
    return None if found is None else (found.st_dev, found.st_ino)


def _states_of(found: Sequence[os.stat_result | None]) -> list[_State | None]:
    return [None if each is None else (each.st_size, each.st_mtime_ns) for each in found[: len(_WRITTEN)]]
