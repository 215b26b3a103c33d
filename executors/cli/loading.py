"""Reads the files that are to be sent: their bytes, their ids, and how they are cut into requests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from executors.cli.files import PictureFile, check_id, unreadable
from executors.errors import VisualSearchError

# Sent in one request.
REQUEST_BYTES: Final = 16_000_000
# Larger files are not pictures that any service takes; they would only fill the memory.
MAX_FILE_BYTES: Final = 250_000_000

IdMode: TypeAlias = Literal["path", "sha256"]
Shrink: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was read: its bytes as they are to be sent, and how it was when it was read."""

    file: PictureFile
    id: str
    blob: bytes
    size: int
    mtime_ns: int


def load_file(file: PictureFile, id_mode: IdMode, shrink: Shrink | None) -> LoadedFile | VisualSearchError:
    """Read a file, name it, and make it smaller; for a thread. What keeps it from being sent is returned, not raised."""
    try:
        if id_mode == "path":
            check_id(file.name)
        with Path(file.path).open("rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_size > MAX_FILE_BYTES:
                return VisualSearchError(
                    "image_too_large",
                    f"the file has {found.st_size} bytes; at most {MAX_FILE_BYTES} are read",
                    bytes=found.st_size,
                    limit=MAX_FILE_BYTES,
                )
            blob = stream.read()
    except OSError as error:
        return unreadable(error)
    except VisualSearchError as error:
        return error
    document_id = file.name if id_mode == "path" else hashlib.sha256(blob).hexdigest()
    if shrink is not None:
        blob = shrink(blob)
    return LoadedFile(file, document_id, blob, found.st_size, found.st_mtime_ns)


def in_requests(loaded: Sequence[LoadedFile]) -> Iterator[list[LoadedFile]]:
    """Cut what was read into requests by their bytes."""
    request: list[LoadedFile] = []
    size = 0
    for each in loaded:
        if request and size + len(each.blob) > REQUEST_BYTES:
            yield request
            request, size = [], 0
        request.append(each)
        size += len(each.blob)
    if request:
        yield request


def label_of(name: str) -> str:
    """A file's name as text that can be sent, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()
