"""Reads local files with a size limit: only regular files, never more than the limit, and never half of a changing one.

A device such as /dev/zero never ends, a pipe without a writer never begins, and a file of some gigabytes fills the
memory. Every file that a user or a setting names is read through this module.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from executors.errors import ErrorCode, VisualSearchError

# The limit for texts that people write: flow files, manifests, passwords.
MAX_TEXT_BYTES: Final = 4_000_000
# No service accepts a picture that is larger than this; it would only fill the memory.
MAX_PICTURE_BYTES: Final = 250_000_000


def unreadable(error: OSError) -> VisualSearchError:
    """The error for a local file or folder that can't be read; the caller adds its name."""
    return VisualSearchError("unreadable_file", f"can't be read: {error.strerror or type(error).__name__}")


def open_regular(path: str | Path) -> io.FileIO:
    """Open a regular file for reading, without waiting for anything; the caller closes it.

    Raises:
        VisualSearchError: `unreadable_file` when it can't be opened or is a folder, pipe, socket or device.
    """
    try:
        return open_plain(path)
    except OSError as error:
        raise unreadable(error) from None
    except ValueError:
        raise VisualSearchError("unreadable_file", "can't be read: a path must not contain NUL") from None


def open_plain(path: str | Path) -> io.FileIO:
    """Open a regular file like `open_regular`, for callers that handle the system's errors.

    Raises:
        OSError: it can't be opened, or is a folder, pipe, socket or device.
    """
    # Without this flag, opening a pipe waits for its writer; on a regular file the flag does nothing.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"it is {kind_of(mode)}, not a regular file", str(path))
    return io.FileIO(descriptor, "rb")


def kind_of(mode: int) -> str:
    """The kind of a file that is not a regular one."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for is_kind, name in kinds if is_kind(mode)), "a device")


def read_file(
    path: str | Path, limit: int, *, too_large: ErrorCode = "unreadable_file"
) -> tuple[bytes, os.stat_result]:
    """Read a whole regular file of at most `limit` bytes.

    Args:
        path: of the file.
        limit: in bytes; a larger file is refused by its size, before any of it is read.
        too_large: the error code for a larger file.

    Returns:
        The content, and the state of the file that it belongs to.

    Raises:
        VisualSearchError: `unreadable_file`, also for a file that changed while it was read; `too_large`. The message
            does not name the file.
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
    # Files that the system generates (/proc) report size 0.
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
