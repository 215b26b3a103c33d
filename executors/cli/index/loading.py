"""Reads the files that are to be sent: their bytes, their ids, and how they are cut into requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from executors.cli.index.files import PictureFile, check_id
from executors.errors import VisualSearchError
from executors.files.reading import MAX_PICTURE_BYTES, read_file

# Sent in one request.
REQUEST_BYTES: Final = 16_000_000
MAX_FILE_BYTES: Final = MAX_PICTURE_BYTES

IdMode: TypeAlias = Literal["path", "sha256"]
Shrink: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was read: its bytes as they are to be sent, and how it was when it was read.

    `digest` is the SHA-256 of the file, in hexadecimal digits, whatever is sent of it.
    """

    file: PictureFile
    id: str
    blob: bytes
    size: int
    mtime_ns: int
    digest: str


def load_file(
    file: PictureFile, id_mode: IdMode, shrink: Shrink | None, id_prefix: str = ""
) -> LoadedFile | VisualSearchError:
    """Read a file, name it, and make it smaller; for a thread. What keeps it from being sent is returned, not raised."""
    try:
        if id_mode == "path":
            check_id(id_prefix + file.name)
        if file.content is not None:
            blob, size, mtime_ns = file.content, file.size, file.mtime_ns
        else:
            blob, found = read_file(file.path, MAX_FILE_BYTES, too_large="image_too_large")
            size, mtime_ns = found.st_size, found.st_mtime_ns
    except VisualSearchError as error:
        return error
    digest = hashlib.sha256(blob).hexdigest()
    document_id = digest if id_mode == "sha256" else id_prefix + file.name
    if shrink is not None:
        blob = shrink(blob)
    return LoadedFile(file, document_id, blob, size, mtime_ns, digest)


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
