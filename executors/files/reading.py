"""Reads local files with a bound: only regular files, never more than a limit, and never half of one that changes.

A device such as /dev/zero never ends, a pipe without a writer never begins, and a file of some gigabytes fills the memory.
Everything that a person or a setting names is read through this module.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from executors.errors import ErrorCode, VisualSearchError

# Flow files, manifests, passwords: texts that a person writes.
MAX_TEXT_BYTES: Final = 4_000_000
# Larger files are not pictures that any service takes; they would only fill the memory.
MAX_PICTURE_BYTES: Final = 250_000_000


def unreadable(error: OSError) -> VisualSearchError:
    """The error for a local file or folder that can't be read; whoever knows its name adds it."""
    return VisualSearchError("unreadable_file", f"can't be read: {error.strerror or type(error).__name__}")


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file to read it, without waiting for anything; to be closed by the caller.

    Raises:
        VisualSearchError: `unreadable_file` when it can't be opened or is a folder, pipe, socket or device.
    """
    try:
        return open_plain(path)
    except OSError as error:
        raise unreadable(error) from None
    except ValueError:
        raise VisualSearchError("unreadable_file", "can't be read: no path has a NUL in it") from None


def open_plain(path: str | Path) -> io.FileIO:
    """The same for callers that tell the system's errors apart.

    Raises:
        OSError: it can't be opened, or is a folder, pipe, socket or device.
    """
    # Opening a pipe waits for its writer, without this flag; on a regular file it does nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"it is {kind_of(mode)}, not a regular file", str(path))
    return io.FileIO(descriptor, "rb")


def kind_of(mode: int) -> str:
    """What something is that is not a regular file."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def read_file(
    path: str | Path, limit: int, *, too_large: ErrorCode = "unreadable_file"
) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file of at most `limit` bytes.

    Args:
        path: of the file.
        limit: in bytes; a larger file is refused by its size, before any of it is read.
        too_large: the code of the error for one that is larger.

    Returns:
        The content, and the state of the file that it belongs to.

    Raises:
        VisualSearchError: `unreadable_file`, also for a file that changed while it was read; `too_large`. The message does
            not name the file.
    """
    try:
        with open_regular(path) as stream:
            before = os.fstat(stream.fileno())
            if before.st_size > limit:
                raise _too_large(too_large, before.st_size, limit)
            content = read_at_most(stream, limit, too_large=too_large)
            after = os.fstat(stream.fileno())
    except OSError as error:
        raise unreadable(error) from None
    # Files that the system makes up (/proc) have no size.
    shorter = before.st_size and len(content) != before.st_size
    if shorter or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise VisualSearchError("unreadable_file", "changed while it was read; try again when it is complete")
    return content, before


def read_at_most(stream: BinaryIO | io.FileIO, limit: int, *, too_large: ErrorCode = "unreadable_file") -> bytes:
    """Read a stream to its end, if that comes within `limit` bytes.

    Raises:
        VisualSearchError: `too_large`.
        OSError: the stream can't be read.
    """
    blocks, size = [], 0
    while block := stream.read(min(1 << 20, limit + 1 - size)):
        blocks.append(block)
        size += len(block)
        if size > limit:
            raise _too_large(too_large, None, limit)
    return b"".join(blocks)


def read_text(path: str | Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Read a text file.

    Raises:
        VisualSearchError: `unreadable_file`; the message does not name the file.
    """
    try:
        return read_file(path, limit)[0].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise VisualSearchError("unreadable_file", "can't be read: it is not UTF-8 text") from None


def _too_large(code: ErrorCode, size: int | None, limit: int) -> VisualSearchError:
    found = f"the file has {size} bytes" if size is not None else "there are more bytes"
    message = f"{found}; at most {limit} are read"
    return VisualSearchError(code, message, bytes=size if size is not None else limit + 1, limit=limit)
