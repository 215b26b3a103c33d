"""A file that is written line by line under another name, and takes its own when it is whole.

What an interruption leaves is `NAME.part`; it can be gone on with after its last whole line.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

from executors.errors import VisualSearchError

# Written since the last fsync: what a loss of power may cost.
_SYNC_BYTES: Final = 64_000_000
# Whatever is longer did not come from an export.
_MAX_LINE_BYTES: Final = 64_000_000


class PartFile:
    """`NAME.part`, held by this process alone.

    Args:
        path: the name that it takes at the end.
        resume: go on with what is there; else nothing may be.

    Raises:
        VisualSearchError: `invalid_parameter` when there is a part and `resume` is off, or another process writes it;
            `unreadable_file` when it can't be written.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        self._unsynced = 0
        try:
            self._stream = _open_locked(self._part, resume)
            # The head and the last line of what was there, and how many lines that were.
            self.first, self.last, self.lines, size = _whole_lines(self._stream)
            self._stream.truncate(size)
            self._stream.seek(size)
        except OSError as error:
            raise unwritable(self._part, error) from None

    def write(self, content: bytes) -> None:
        """Append whole lines.

        Raises:
            VisualSearchError: `unreadable_file` when there is no room, say.
        """
        try:
            self._stream.write(content)
            # A kill then costs nothing that was written; a loss of power, what was not synced.
            self._stream.flush()
            self._unsynced += len(content)
            if self._unsynced >= _SYNC_BYTES:
                self._sync()
        except OSError as error:
            raise unwritable(self._part, error) from None

    def finish(self) -> None:
        """Give the file its name; it is on disk, under that name, when this returns.

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
        """Let go of it; what was written stays. What could not be written has been told already."""
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
            f"{part} is there: an export that was interrupted; --resume goes on with it, or remove it to begin anew",
        ) from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise VisualSearchError("invalid_parameter", f"another process is writing {part}") from None
    return stream


def _whole_lines(stream: BinaryIO) -> tuple[bytes, bytes, int, int]:
    """First and last line, their number, and the bytes that all of them have.

    The end is where something is no line of JSON objects: torn by a kill, or never written when the power failed.
    """
    first = last = b""
    lines = size = 0
    for line in iter(lambda: stream.readline(_MAX_LINE_BYTES), b""):
        if not (line.startswith(b"{") and line.endswith(b"}\n")) or b"\0" in line:
            break
        first, last = first or line, line
        lines, size = lines + 1, size + len(line)
    return first, last, lines, size
