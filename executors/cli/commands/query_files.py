"""The picture files that `visual-search search` searches with."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from executors.cli.terminal.daemon_thread import in_daemon_thread
from executors.cli.terminal.standard_input import read_standard_input
from executors.errors import VisualSearchError
from executors.files.reading import MAX_PICTURE_BYTES, read_at_most, read_file, unreadable


@dataclass(frozen=True, slots=True)
class QueryFile:
    """A file to search with, made smaller, and a picture of it for the page; or its error."""

    name: str
    blob: bytes = b""
    picture: bytes | None = None
    error: VisualSearchError | None = None


def is_stream(name: str) -> bool:
    """Whether a name stands for a stream that the shell opened: standard input, or `<(command)`."""
    return name == "-" or name.startswith("/dev/fd/")


async def load_soon(name: str, with_picture: bool, places: asyncio.Semaphore) -> QueryFile:
    """Read a file in a thread; a stream that never ends must not keep the process from ending."""
    async with places:
        if is_stream(name):
            return await in_daemon_thread(lambda: _load(name, with_picture))
        return await asyncio.to_thread(_load, name, with_picture)


def _load(name: str, with_picture: bool) -> QueryFile:
    from executors.cli.index.shrinking import shrink, small_picture

    try:
        if name == "-":
            blob = read_standard_input(MAX_PICTURE_BYTES)
        elif is_stream(name):
            with Path(name).open("rb") as stream:
                blob = read_at_most(stream, MAX_PICTURE_BYTES, too_large="image_too_large")
        else:
            blob, _ = read_file(name, MAX_PICTURE_BYTES, too_large="image_too_large")
    except OSError as error:
        return QueryFile(name, error=unreadable(error))
    except VisualSearchError as error:
        return QueryFile(name, error=error)
    return QueryFile(name, shrink(blob), small_picture(blob) if with_picture else None)
