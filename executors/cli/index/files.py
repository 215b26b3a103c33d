"""Which files are pictures to index, what their ids are, and what is left out of a folder, with the reason."""

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

# What has such a name is sent without a look at it here: the service says what is wrong with it.
EXTENSIONS: Final = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"}
    | {".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl"}
)
# The folder that stands for the standard input.
STANDARD_INPUT: Final = ""
OUTSIDE: Final = "link out of the folder"
SPECIAL: Final = "pipe, socket or device"
_USUAL: Final = Selection()


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A file that looks like a picture.

    Attributes:
        folder: the absolute folder that was asked for; of a file that was asked for by itself, the one that it is in.
        name: the path relative to it, with forward slashes; lone surrogates stand for bytes that are not UTF-8.
        size: in bytes, when the folder was read.
        mtime_ns: time of the last change, nanoseconds since 1970.
        content: what was read already, from the standard input.
    """

    folder: str
    name: str
    size: int = 0
    mtime_ns: int = 0
    content: bytes | None = None

    @property
    def path(self) -> str:
        """Where the file is."""
        return "-" if self.folder == STANDARD_INPUT else f"{self.folder.rstrip('/')}/{self.name}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not sent: a file, or a folder with all that is in it; `kind` says why, or what it is."""

    file: PictureFile
    kind: str
    is_missed: bool = False


@dataclass(slots=True)
class Scan:
    """What the folders hold.

    Attributes:
        files: to send.
        faults: what can't be read, with the reason for each.
        left_out: what is not sent.
        folders: the absolute folders that were asked for as a whole.
    """

    files: list[PictureFile] = field(default_factory=list)
    faults: list[tuple[PictureFile, VisualSearchError]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    @property
    def left_out_by_kind(self) -> Counter[str]:
        """How many files and folders of each kind were left out."""
        return Counter(each.kind for each in self.left_out)


def scan_folders(paths: Sequence[str], selection: Selection = _USUAL) -> Scan:
    """Find the pictures of folders, recursively, in the order of their names; files are taken as they are named.

    Of files without a picture's name the first bytes are looked at. A folder that is reached twice is read once, by its own
    path rather than by a link, so that loops end. A file that is in several of the folders, or named besides, is taken once.

    Raises:
        VisualSearchError: `invalid_parameter` when there is nothing under a path, `unreadable_file` when it can't be seen.
    """
    scan = Scan()
    named: list[PictureFile] = []
    for path in dict.fromkeys(paths):
        try:
            # As it was typed: to a Path, an empty one is the current folder, and `cat.jpg/` a file.
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116
        except (FileNotFoundError, NotADirectoryError):
            raise VisualSearchError("invalid_parameter", f"there is no file or folder {path!r}") from None
        except (OSError, ValueError) as error:
            reason = unreadable(error).message if isinstance(error, OSError) else "no path has a NUL in it"
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
    """The mode of what a path leads to; 0 where that can't be seen, whatever the reason is."""
    try:
        return Path(path).stat().st_mode
    except OSError:
        return 0


def _keep_once(scan: Scan) -> None:
    """Of folders inside of each other, the outermost one has the files of both, in whatever order they were given."""
    read = _outermost([*scan.files, *(file for file, _ in scan.faults)])
    left_out = _outermost([each.file for each in scan.left_out]) | read
    scan.files = [each for each in scan.files if read[each.path] == each.folder]
    scan.faults = [each for each in scan.faults if read[each[0].path] == each[0].folder]
    scan.left_out = [each for each in scan.left_out if left_out[each.file.path] == each.file.folder]


def _outermost(files: Sequence[PictureFile]) -> dict[str, str]:
    """The outermost folder of those that each path was found in."""
    folders: dict[str, str] = {}
    for file in files:
        folders[file.path] = min(folders.get(file.path, file.folder), file.folder, key=len)
    return folders


def clashing_names(files: Sequence[PictureFile]) -> list[tuple[PictureFile, PictureFile]]:
    """Pairs of files from different folders that would get the same id."""
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
            "invalid_id", f"the path has {size} bytes; an id has at most {MAX_ID_BYTES}", bytes=size
        )


class _FolderScan:
    """Reads one folder and those below it."""

    def __init__(self, folder: str, selection: Selection, scan: Scan) -> None:
        self._folder = folder
        self._root = Path(folder).name
        self._selection = selection
        self._scan = scan
        self._visited: set[tuple[int, int]] = set()
        self._linked: list[str] = []

    def run(self) -> None:
        """Folders before links to folders, so that what is reached twice has its own path."""
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
        """Add a file; the name of a folder that is to be read, too."""
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
        """Whether a link points to something outside of the folder; one that points nowhere is a fault of its own."""
        target = os.path.realpath(link)
        inside = target == self._folder or target.startswith(f"{self._folder.rstrip('/')}/")
        return not inside and mode_of(link) != 0


def _add_named(file: PictureFile, scan: Scan) -> None:
    """Add a file that was asked for by its name: the service says what is wrong with it, unless its kind is not read."""
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
