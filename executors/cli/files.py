"""Which files of a folder are pictures to index, and what their ids are. Names only; nothing is read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from executors.errors import VisualSearchError

EXTENSIONS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
MAX_ID_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that looks like a picture.

    Attributes:
        folder: the absolute folder that was asked for.
        name: the path relative to it, with forward slashes; lone surrogates stand for bytes that are not UTF-8.
        size: in bytes, when the folder was read.
        mtime_ns: time of the last change, nanoseconds since 1970.
    """

    folder: str
    name: str
    size: int = 0
    mtime_ns: int = 0

    @property
    def path(self) -> str:
        """Where the file is."""
        return f"{self.folder}/{self.name}"


@dataclass(slots=True)
class Scan:
    """What the folders hold: files to send, and what can't be sent with the reason for each."""

    files: list[PictureFile] = field(default_factory=list)
    faults: list[tuple[PictureFile, VisualSearchError]] = field(default_factory=list)


def scan_folders(folders: Sequence[str]) -> Scan:
    """Find the pictures of folders, recursively, in the order of their names.

    Hidden files and folders are left out. Links are followed; a folder that is reached twice is read once, by its own
    path rather than by a link, so that loops end.

    Raises:
        VisualSearchError: `invalid_parameter` when a folder is none.
    """
    scan = Scan()
    for folder in dict.fromkeys(os.path.realpath(folder) for folder in folders):
        if not Path(folder).is_dir():
            raise VisualSearchError("invalid_parameter", f"{folder!r} is not a folder")
        _scan_folder(folder, scan)
    return scan


def clashing_names(files: Sequence[PictureFile]) -> list[tuple[PictureFile, PictureFile]]:
    """Pairs of files from different folders that would get the same id."""
    first: dict[str, PictureFile] = {}
    return [(first[file.name], file) for file in files if first.setdefault(file.name, file) is not file]


def check_id(name: str) -> None:
    """Check that a file's name can be an id.

    Raises:
        VisualSearchError: `invalid_id`.
    """
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise VisualSearchError("invalid_id", "the file's name is not UTF-8; rename it, or use --id sha256") from None
    if size > MAX_ID_BYTES:
        raise VisualSearchError(
            "invalid_id", f"the path has {size} bytes; an id has at most {MAX_ID_BYTES}", bytes=size
        )


def _scan_folder(folder: str, scan: Scan) -> None:
    visited: set[tuple[int, int]] = set()
    linked: list[str] = []
    _scan_subfolder(folder, "", scan, visited, linked)
    while linked:
        _scan_subfolder(folder, linked.pop(0), scan, visited, linked)


def _scan_subfolder(folder: str, subfolder: str, scan: Scan, visited: set[tuple[int, int]], linked: list[str]) -> None:
    """Read one folder and those below it; links to folders are left for later in `linked`."""
    pending = [subfolder]
    while pending:
        current = pending.pop()
        try:
            identity = Path(folder, current).stat()
            if (identity.st_dev, identity.st_ino) in visited:
                continue
            visited.add((identity.st_dev, identity.st_ino))
            with os.scandir(f"{folder}/{current}") as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            scan.faults.append((PictureFile(folder, current or "."), unreadable(error)))
            continue
        below = []
        for entry in found:
            if entry.name.startswith("."):
                continue
            name = f"{current}/{entry.name}" if current else entry.name
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif entry.is_symlink() and Path(entry.path).is_dir():
                linked.append(name)
            elif PurePath(entry.name).suffix.lower() in EXTENSIONS:
                _add_file(PictureFile(folder, name), scan)
        pending += reversed(below)


def _add_file(file: PictureFile, scan: Scan) -> None:
    try:
        found = Path(file.path).stat()
    except OSError as error:
        scan.faults.append((file, unreadable(error)))
        return
    if stat.S_ISREG(found.st_mode):
        scan.files.append(PictureFile(file.folder, file.name, found.st_size, found.st_mtime_ns))


def unreadable(error: OSError) -> VisualSearchError:
    """The error for a local file or folder that can't be read."""
    return VisualSearchError("unreadable_file", f"can't be read: {error.strerror or type(error).__name__}")


def in_groups(files: Sequence[PictureFile], most: int, most_bytes: int) -> Iterator[list[PictureFile]]:
    """Cut a list into runs of at most `most` files and `most_bytes` (a larger file goes alone)."""
    group: list[PictureFile] = []
    size = 0
    for file in files:
        if group and (len(group) == most or size + file.size > most_bytes):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
