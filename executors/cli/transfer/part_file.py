"""A file that is written as `NAME.part`, and renamed to `NAME` when it is complete.

After an interruption `NAME.part` is left; writing can continue after its last complete line.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from executors.errors import VisualSearchError

# How much is written between two calls of fsync; a loss of power may lose so much.
_SYNC_BYTES: Final = 64_000_000
# No export has a longer line.
_MAX_LINE_BYTES: Final = 64_000_000


class PartFile:
    """`NAME.part`, locked by this process.

    Args:
        path: its name when it is complete.
        resume: continue an existing part; without `resume` there must be none.

    Attributes:
        first: the first complete line that was there; empty if there was none.
        last: the last complete line that was there; empty if there was none.
        lines: how many complete lines were there.

    Raises:
        VisualSearchError: `invalid_parameter` if there is a part but `resume` is off, or if another process writes it;
            `unreadable_file` if it can't be written.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._unsynced = 0
        try:
            self._stream = _open_locked(self._part, resume)
            self.first, self.last, self.lines, size = _whole_lines(self._stream)
            self._stream.truncate(size)
            self._stream.seek(size)
        except OSError as error:
            raise unwritable(self._part, error) from None

    def write(self, content: bytes) -> None:
        """Append complete lines.

        Raises:
            VisualSearchError: `unreadable_file` if they can't be written, for example because the disk is full.
        """
        try:
            self._stream.write(content)
            # A kill then loses nothing that was written; a loss of power loses what was not synced.
            self._stream.flush()
            self._unsynced += len(content)
            if self._unsynced >= _SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise unwritable(self._part, error) from None

    def finish(self) -> None:
        """Rename the file; it is on disk under its name when this returns.

        Raises:
            VisualSearchError: `unreadable_file`.
        """
        try:
            self._sync()
            self._part.rename(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise unwritable(self._path, error) from None

    def close(self) -> None:
        """Close the file. Errors are ignored, because `write` has raised them already."""
        with suppress(OSError):
            self._stream.close()

    def _sync(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._unsynced = 0


def unwritable(path: Path, error: OSError) -> VisualSearchError:
    """The error for a local file that can't be written."""
    return VisualSearchError("unreadable_file", f"{path} can't be written: {error.strerror or type(error).__name__}")


def _open_locked(part: Path, resume: bool) -> BinaryIO:
    flags = os.O_RDWR | os.O_CREAT | (0 if resume else os.O_EXCL)
    try:
        stream = os.fdopen(os.open(part, flags, 0o666), "r+b", buffering=1 << 20)
    except FileExistsError:
        raise VisualSearchError(
            "invalid_parameter",
            f"{part} exists: an export was interrupted. Use --resume to continue it, or remove it to start again",
        ) from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise VisualSearchError("invalid_parameter", f"another process is writing {part}") from None
    return stream


def _whole_lines(stream: BinaryIO) -> tuple[bytes, bytes, int, int]:
    """The first and last complete line, the number of lines, and their size in bytes.

    Reading stops at the first line that is not a JSON object: a kill tore it, or it was lost when the power failed.
    """
    first = last = b""
    lines = size = 0
    for line in iter(lambda: stream.readline(_MAX_LINE_BYTES), b""):
        if not (line.startswith(b"{") and line.endswith(b"}\n")) or b"\0" in line:
            break
        first, last = first or line, line
        lines, size = lines + 1, size + len(line)
    return first, last, lines, size
