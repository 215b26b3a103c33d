"""Scans folders: which files to index, and which are left out, with the reason."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from executors.cli.index.kinds import FIRST_BYTES, Kind, file_kind
from executors.cli.index.selection import Selection
from executors.document_values import MAX_ID_BYTES
from executors.errors import VisualSearchError
from executors.files.reading import open_regular, unreadable

# Files with these extensions are sent without looking into them; the service says what is wrong with one.
EXTENSIONS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl"}
)
# The value of `PictureFile.folder` for standard input.
STANDARD_INPUT: Final = ""
OUTSIDE: Final = "link out of the folder"
SPECIAL: Final = "pipe, socket or device"
_USUAL: Final = Selection()


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that looks like a picture.

    Attributes:
        folder: the absolute path of the folder that the user named, or that contains the file that the user named.
        name: the path relative to it, with forward slashes; lone surrogates stand for bytes that are not UTF-8.
        size: in bytes, when the folder was read.
        mtime_ns: time of the last change, in nanoseconds since 1970.
        content: the bytes, if they have been read already (from standard input).
    """

    folder: str
    name: str
    size: int = 0
    mtime_ns: int = 0
    content: bytes | None = None

    @property
    def path(self) -> str:
        """The absolute path of the file; `-` for standard input."""
        return "-" if self.folder == STANDARD_INPUT else f"{self.folder.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not sent; `kind` says why, or what it is. `is_missed`: a user may expect it to be sent."""

    file: PictureFile
    kind: str
    is_missed: bool = False


@dataclass(slots=True)
class Scan:
    """The result of scanning.

    Attributes:
        files: the files to send.
        faults: the files and folders that can't be read, with their errors.
        left_out: the files and folders that are not sent.
        folders: the absolute paths of the folders that the user named.
    """

    files: list[PictureFile] = field(default_factory=list)
    faults: list[tuple[PictureFile, VisualSearchError]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def left_out_by_kind(self) -> Counter[str]:
        """How many files and folders were left out, by kind."""
        return Counter(each.kind for each in self.left_out)


def scan_folders(paths: Sequence[str], selection: Selection = _USUAL) -> Scan:
    """Find the pictures of folders, recursively, in the order of their names; add files that the user named.

    If the extension is not that of a picture, the first bytes decide. A folder that is reached twice is read once, under
    its own path rather than a link's, so that loops end. A file that is in several folders, or also named, is added once.

    Raises:
        VisualSearchError: `invalid_parameter` if a path does not exist, `unreadable_file` if it can't be accessed.
    """
    scan = Scan()
    named: list[PictureFile] = []
    for path in dict.fromkeys(paths):
        try:
            # The path as typed: a Path would turn an empty one into the current folder, and `cat.jpg/` into a file.
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            raise VisualSearchError("invalid_parameter", f"there is no file or folder {path!r}") from None
        except (OSError, ValueError) as error:
            reason = unreadable(error).message if isinstance(error, OSError) else "a path can't have a NUL in it"
            raise VisualSearchError("unreadable_file", f"{path!r}: {reason}") from None
        if is_folder:
            scan.folders.append(os.path.realpath(path))
        else:
            folder, name = os.path.split(path)
            named.append(PictureFile(os.path.realpath(folder), name))
    scan.folders = list(dict.fromkeys(scan.folders))
    for folder in scan.folders:
        _FolderScan(folder, selection, scan).run()
    _keep_once(scan)
    found = {each.path for each in (*scan.files, *(file for file, _ in scan.faults))}
    for file in dict.fromkeys(named):
        if file.path not in found:
            _add_named(file, scan)
    return scan


def mode_of(path: str | Path) -> int:
    """The mode of the file that a path leads to; 0 if it can't be accessed, for any reason."""
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def _keep_once(scan: Scan) -> None:
    """Keep each file of nested folders once, as a file of the outermost folder, in any order of the folders."""
    read = _outermost([*scan.files, *(file for file, _ in scan.faults)])
    left_out = _outermost([each.file for each in scan.left_out]) | read
    scan.files = [each for each in scan.files if read[each.path] == each.folder]
    scan.faults = [each for each in scan.faults if read[each[0].path] == each[0].folder]
    scan.left_out = [each for each in scan.left_out if left_out[each.file.path] == each.file.folder]


def _outermost(files: Sequence[PictureFile]) -> dict[str, str]:
    """For each path, the outermost of the folders that it was found in."""
    folders: dict[str, str] = {}
    for file in files:
        folders[file.path] = min(folders.get(file.path, file.folder), file.folder, key=len)
    return folders


def clashing_names(files: Sequence[PictureFile]) -> list[tuple[PictureFile, PictureFile]]:
    """Find pairs of files from different folders that would get the same id."""
    first: dict[str, PictureFile] = {}
    return [(first[file.name], file) for file in files if first.setdefault(file.name, file) is not file]


def check_id(document_id: str) -> None:
    """Check that a file's name can be an id.

    Raises:
        VisualSearchError: `invalid_id`.
    """
    try:
        size = len(document_id.encode())
    except UnicodeEncodeError:
        raise VisualSearchError("invalid_id", "the file's name is not UTF-8; rename it, or use --id sha256") from None
    if size > MAX_ID_BYTES:
        raise VisualSearchError(
            "invalid_id", f"the path has {size} bytes; an id can have at most {MAX_ID_BYTES}", bytes=size
        )


class _FolderScan:
    """Scans one folder and its subfolders."""

    def __init__(self, folder: str, selection: Selection, scan: Scan) -> None:
        self._folder = folder
        self._root = Path(folder).name
        self._selection = selection
        self._scan = scan
        self._visited: set[tuple[int, int]] = set()
        self._linked: list[str] = []

    def run(self) -> None:
        """Read folders before links to folders, so that a folder that is reached twice keeps its own path."""
        self._read_below("")
        while self._linked:
            self._read_below(self._linked.pop(0))

    def _read_below(self, subfolder: str) -> None:
        pending = [subfolder]
        while pending:
            current = pending.pop()
            try:
                identity = Path(self._folder, current).stat()
                if (identity.st_dev, identity.st_ino) in self._visited:
                    continue
                self._visited.add((identity.st_dev, identity.st_ino))
                with os.scandir(f"{self._folder}/{current}") as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self._scan.faults.append((PictureFile(self._folder, current or "."), unreadable(error)))
                continue
            below = [name for entry in found if (name := self._take(entry, current)) is not None]
            pending += reversed(below)

    def _take(self, entry: os.DirEntry[str], current: str) -> str | None:
        """Add a file; return the name if it is a folder to read."""
        name = f"{current}/{entry.name}" if current else entry.name
        is_link = entry.is_symlink()
        is_folder = entry.is_dir(follow_symlinks=False) or (is_link and stat.S_ISDIR(mode_of(entry.path)))
        reason = self._selection.reason_against(name, is_folder=is_folder, root=self._root)
        if reason is None and is_link and not self._selection.follow and self._leads_out(entry.path):
            reason = OUTSIDE
        if reason is not None:
            self._scan.left_out.append(LeftOut(PictureFile(self._folder, name), reason))
        elif is_folder and is_link:
            self._linked.append(name)
        elif is_folder:
            return name
        else:
            _add_file(PictureFile(self._folder, name), self._scan)
        return None

    def _leads_out(self, link: str) -> bool:
        """Whether a link leads out of the folder. One that leads nowhere does not; reading it is an error."""
        target = os.path.realpath(link)
        inside = target == self._folder or target.startswith(f"{self._folder.rstrip('/')}/")
        return not inside and mode_of(link) != 0


def _add_named(file: PictureFile, scan: Scan) -> None:
    """Add a file that the user named. It is sent even if it is not a picture, so that the service says what is wrong."""
    try:
        with open_regular(file.path) as stream:
            found, kind = os.fstat(stream.fileno()), file_kind(stream.read(FIRST_BYTES), file.name)
    except OSError as error:
        scan.faults.append((file, unreadable(error)))
    except VisualSearchError as error:
        scan.faults.append((file, error))
    else:
        _add_kind(
            PictureFile(file.folder, file.name, found.st_size, found.st_mtime_ns), kind, scan, sent=not kind.is_missed
        )


def _add_file(file: PictureFile, scan: Scan) -> None:
    try:
        found = Path(file.path).stat()
    except OSError as error:
        scan.faults.append((file, unreadable(error)))
        return
    if not stat.S_ISREG(found.st_mode):
        scan.left_out.append(LeftOut(file, SPECIAL))
        return
    file = PictureFile(file.folder, file.name, found.st_size, found.st_mtime_ns)
    if PurePath(file.name).suffix.lower() in EXTENSIONS:
        scan.files.append(file)
        return
    try:
        with open_regular(file.path) as stream:
            kind = file_kind(stream.read(FIRST_BYTES), file.name)
    except OSError as error:
        scan.faults.append((file, unreadable(error)))
    except VisualSearchError as error:
        scan.faults.append((file, error))
    else:
        _add_kind(file, kind, scan)


def _add_kind(file: PictureFile, kind: Kind, scan: Scan, *, sent: bool = False) -> None:
    if kind.is_read or sent:
        scan.files.append(file)
    else:
        scan.left_out.append(LeftOut(file, kind.name, kind.is_missed))


def in_groups(files: Sequence[PictureFile], most: int, most_bytes: int) -> Iterator[list[PictureFile]]:
    """Cut a list into groups of at most `most` files and `most_bytes` bytes; a larger file is a group of its own."""
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
