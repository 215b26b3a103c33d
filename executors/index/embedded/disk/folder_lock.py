"""The lock on a shard's folder: one process uses it at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError

LOCK_NAME: Final = "LOCK"


def make_folder(folder: Path) -> None:
    """Make a folder and its parents durably: after each new entry, its parent folder is flushed, so that power loss
    can't undo it.

    Raises:
        VisualSearchError: `storage_unavailable`.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
            _flush_folder(each.parent)
    except OSError as error:
        raise _unusable(folder, error) from error


class FolderLock:
    """An advisory lock (flock) on a file in the folder that names its holder; the kernel drops it when the holder dies.

    The file stays when the lock is released: removing it would let two processes lock two files of the same name.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_NAME
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock, or refuse at once. A second lock in the same process is refused as well.

        Raises:
            VisualSearchError: `store_locked`, naming the holder's process; `storage_unavailable`.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _unusable(self._path.parent, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process number only helps the error message; a full disk must not prevent the store from being read.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise VisualSearchError(
                "store_locked",
                f"another process (process {holder or 'unknown'}) holds the folder {str(self._path.parent)!r}; stop it first,"
                " or choose another VS_WORKSPACE",
                folder=str(self._path.parent),
                holder=int(holder) if holder.isdigit() else None,
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise _unusable(self._path.parent, error) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(folder: Path, error: OSError) -> VisualSearchError:
    reason = os.strerror(error.errno or 0)
    message = f"the folder {str(folder)!r} can't be used: {reason}"
    return VisualSearchError("storage_unavailable", message, reason=reason, folder=str(folder))
