"""Downloads a published file: it resumes, and only the published bytes get the file's name."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from executors.errors import VisualSearchError
from executors.files.reading import open_regular
from executors.models.fetch.partial_download import Part
from executors.models.fetch.transfer import ByteProgress, Patience, Transfer, fetch_error

_CHUNK_BYTES: Final = 1 << 18


def download(
    url: str,
    target: Path,
    *,
    checksum: str,
    size: int | None = None,
    label: str | None = None,
    progress: ByteProgress | None = None,
    tell: Callable[[str], None] | None = None,
    patience: Patience | None = None,
) -> Literal["present", "fetched"]:
    """Download a file to `target`, unless it is there.

    The bytes are collected in `<target>.part`; a later call resumes if the server still has the same file (RFC 9110,
    13.1.5: If-Range). One process downloads, others that want the same target wait for it. Not to be called in a
    running event loop.

    Args:
        url: http, https or file; redirects are followed. Nothing is decompressed.
        target: its folder is made if there is none.
        checksum: `sha256:…` or `md5:…` of the whole file.
        size: of the whole file, in bytes, if it is known.
        label: the file's name in messages (default: the target's name).
        progress: is called for each chunk.
        tell: is given messages: that another process downloads the file, that a connection broke.

    Raises:
        VisualSearchError: `download_failed`, with the host and the reason; `checksum_mismatch` when the downloaded file
            is not the published one, and was deleted; `storage_unavailable` when it can't be written. Except after
            `checksum_mismatch`, the next call resumes where this one stopped.
    """
    name = label or target.name
    advance = progress or (lambda done, total: None)
    say = tell or (lambda line: None)
    try:
        with exclusive(target, name, say):
            if target.is_file():
                return "present"
            part = Part(target, url, size, name)
            if urlsplit(url).scheme == "file":
                _copy(url, part, advance)
            else:
                asyncio.run(Transfer(url, part, advance, say, patience or Patience()).run())
            part.check_bytes(checksum)
            part.finish(target)
    except OSError as error:
        raise write_error(name, error) from None
    return "fetched"


@contextmanager
def exclusive(target: Path, label: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of a file that is to be made, which ends with the process; makes the file's folder.

    Raises:
        OSError: the folder or the lock can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.lock")
    waited = False
    while True:
        with path.open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not waited:
                    tell(f"{label}: another process is fetching it; waiting")
                waited = True
                fcntl.flock(lock, fcntl.LOCK_EX)
            # The previous holder has removed the lock file, so this lock is void, and another file may have been made
            # since.
            if not _is_at(lock, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_error(label: str, error: OSError) -> VisualSearchError:
    """The error `storage_unavailable` for a file that can't be written."""
    message = f"{label} can't be written: {error.strerror or type(error).__name__}"
    return VisualSearchError("storage_unavailable", message, file=label)


def _copy(url: str, part: Part, progress: ByteProgress) -> None:
    with _open_source(url) as source:
        total = os.fstat(source.fileno()).st_size
        part.check_total("the file", total)
        part.check_space(total)
        part.clear()
        with part.file.open("wb") as out:
            while chunk := source.read(_CHUNK_BYTES):
                out.write(chunk)
                progress(out.tell(), total)


def _open_source(url: str) -> io.FileIO:
    try:
        return open_regular(url2pathname(urlsplit(url).path))
    except VisualSearchError as error:
        raise fetch_error(url, error.message) from None
