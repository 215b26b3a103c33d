"""Writes local files completely or not at all; a pipe, device or link that the user named stays one."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path


def write_file(path: str | Path, content: bytes) -> None:
    """Write a file, making its folder if necessary.

    A regular file is replaced once the new one is completely on disk. For a link, its target is written and the link
    stays. A pipe, or a device such as /dev/stdout, is written to: replacing it would take it away from every other
    program.

    Raises:
        OSError: it can't be written.
    """
    if is_stream(path):
        with Path(path).open("wb") as stream:
            stream.write(content)
        return
    target = link_target(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name[:100]}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_stream(path: str | Path) -> bool:
    """Whether there is something at a path that is neither a regular file nor a folder: a pipe, a socket, a device."""
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def link_target(path: str | Path) -> Path:
    """The path itself, or the target if it is a link; the target need not exist."""
    return Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)
