"""Disk space that is reserved for deletes: on a full disk, a delete needs a little space before it frees any."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

RESERVE_NAME: Final = "reserve"
# The size of the log of a delete of some hundred documents with their tags.
RESERVE_BYTES: Final = 8_000_000
# On a small disk, the reserve is smaller.
_PART_OF_DISK: Final = 32
# Below this much free space, the log is moved into the file after every write, since moving it takes space, too.
_TIGHT_BYTES: Final = 8 * RESERVE_BYTES
# Below this much free space, the next writes fail.
_NEARLY_FULL_BYTES: Final = 1_000_000
# The unit of st_blocks (stat(2)).
_BLOCK: Final = 512
_TRIAL_NAME: Final = "trial"
_TRIAL_BYTES: Final = 65_536


class Reserve:
    """A file that occupies disk space until a delete needs it.

    Args:
        folder: the shard's own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / RESERVE_NAME
        # Whether the space was occupied when it was last looked at.
        self.is_filled = False

    def fill(self) -> None:
        """Occupy the space, unless it is occupied already or the disk has less than twice as much free."""
        with suppress(OSError):
            disk = shutil.disk_usage(self._folder)
            size = min(RESERVE_BYTES, disk.total // _PART_OF_DISK)
            # A copy of the folder, or a killed process, may have left a file that occupies no space.
            taken = self._path.stat().st_blocks * _BLOCK if self._path.exists() else 0
            self.is_filled = taken >= size
            if self.is_filled or disk.free < 2 * size:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.posix_fallocate(descriptor, 0, size)
                self.is_filled = True
            except OSError:
                self._path.unlink()
            finally:
                os.close(descriptor)

    @property
    def disk_is_tight(self) -> bool:
        """Whether the disk has so little free space that no log should grow on it."""
        try:
            return shutil.disk_usage(self._folder).free < _TIGHT_BYTES
        except OSError:
            return True

    def release(self) -> bool:
        """Give the space back to the disk; returns whether there was any."""
        self.is_filled = False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True


def disk_is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no space for the next writes."""
    try:
        return shutil.disk_usage(folder).free < _NEARLY_FULL_BYTES
    except OSError:
        return True


def can_write(folder: Path) -> bool:
    """Whether a small file can be written to the disk of a folder, found out by trying."""
    path = folder / _TRIAL_NAME
    try:
        with path.open("wb") as trial:
            trial.write(bytes(_TRIAL_BYTES))
            trial.flush()
            os.fsync(trial.fileno())
    except OSError:
        return False
    finally:
        with suppress(OSError):
            path.unlink()
    return True
