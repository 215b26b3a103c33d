"""Reads the files to send, and cuts them into requests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from executors.cli.index.files import PictureFile, check_id
from executors.errors import VisualSearchError
from executors.files.reading import MAX_PICTURE_BYTES, read_file

# Maximum size of one request.
REQUEST_BYTES: Final = 16_000_000
MAX_FILE_BYTES: Final = MAX_PICTURE_BYTES

IdMode: TypeAlias = Literal["path", "sha256"]
Shrink: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file that was read: the bytes to send, and its size and time when it was read.

    `digest` is the SHA-256 of the original file, in hexadecimal digits, even if `blob` is a smaller copy.
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
    """Read a file, choose its id, and make it smaller. To be run in a thread; errors are returned, not raised."""
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
    """Cut files into requests of at most REQUEST_BYTES; a larger file is a request of its own."""
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
    """A file's name as text that can be sent; bytes that are not UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()
