"""Checks that the folder in a setting can be written."""

from __future__ import annotations

import os
from pathlib import Path

from executors.errors import VisualSearchError


def check_folder(setting: str, folder: Path) -> None:
    """Make the folder if it is missing, and refuse one that can't be written, before any process needs it.

    Raises:
        VisualSearchError: `storage_unavailable`; the message names the setting and the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise _fault(setting, folder, "it is a file, not a folder") from None
    except OSError as error:
        raise _fault(setting, folder, f"it can't be made: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
        reason = "its file system is mounted read-only" if read_only else "this user may not write there"
        raise _fault(setting, folder, reason)


def _fault(setting: str, folder: Path, reason: str) -> VisualSearchError:
    message = f"{setting}: {folder}: {reason}; set {setting} to a folder that can be written"
    return VisualSearchError("storage_unavailable", message, setting=setting, folder=str(folder))
