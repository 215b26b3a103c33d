"""Reads the lines of an import in chunks, with bounded memory, from a file or a stream, from any offset."""

from __future__ import annotations

import io
import os
import select
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from executors.cli.terminal.output import print_warning
from executors.cli.transfer.format import End, Header, parse_line
from executors.client import Document
from executors.errors import VisualSearchError
from executors.files.reading import kind_of

CHUNK_DOCUMENTS: Final = 256
CHUNK_BYTES: Final = 8_000_000
# The largest document (a vector of 65,536 numbers as text, a thumbnail and tags) takes a tenth of it.
MAX_LINE_BYTES: Final = 16_000_000
# A longer line is skipped, up to this length. Beyond it the input is not an export (`/dev/zero` is one line without end).
_MAX_SKIPPED_BYTES: Final = 256_000_000
_BLOCK_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 3
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Place:
    """A place between two lines; everything before it has been read.

    Attributes:
        offset: its offset in bytes.
        line: how many lines are before it.
        open: a header was read, but not yet its end.
        documents: how many documents came since the last header or end, including those that can't be read.
        lacking: how many documents are missing, by the numbers in the ends.
    """

    offset: int = 0
    line: int = 0
    open: bool = False
    documents: int = 0
    lacking: int = 0


@dataclass(frozen=True, slots=True)
class LineDocument:
    """A document and the number of its line, from 1."""

    line: int
    document: Document


@dataclass(frozen=True, slots=True)
class LineFault:
    """A line that can't be read, and its error."""

    line: int
    error: VisualSearchError


@dataclass(slots=True)
class Chunk:
    """Some lines: the documents of one request, the lines that can't be read, and the place after them.

    A chunk with a `header` has nothing else.
    """

    documents: list[LineDocument] = field(default_factory=list)
    faults: list[LineFault] = field(default_factory=list)
    header: Header | None = None
    end: Place = Place()

    @property
    def keys(self) -> set[tuple[str | None, str | None]]:
        """The collection and id of every document."""
        return {(each.document.collection, each.document.id) for each in self.documents}


def open_input(path: str) -> io.FileIO:
    """Open a file or a pipe to import from. If no program writes to the pipe yet, print a warning and wait.

    Raises:
        VisualSearchError: `unreadable_file` for a folder or a device.
        OSError: it can't be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or os.isatty(descriptor)):
        os.close(descriptor)
        raise VisualSearchError("unreadable_file", f"{path}: it is {kind_of(mode)}, not a file to import")
    if stat.S_ISFIFO(mode):
        arrival = select.poll()
        arrival.register(descriptor, select.POLLIN)
        if not arrival.poll(1000 * _PATIENCE_S):
            print_warning(
                f"{path} is a pipe that no program writes to yet; waiting for a writer (Ctrl-C ends the wait)"
            )
            arrival.poll()
    os.set_blocking(descriptor, True)
    return io.FileIO(descriptor, "rb")


def read_lines(descriptor: int, place: Place) -> Iterator[tuple[int, bytes | None]]:
    """Read the lines of a file, each with the offset after it; None stands for a line that is too long.

    It uses `os.read` instead of a buffered stream, because a thread that waits for a pipe in `os.read` does not keep the
    process from ending.

    Raises:
        OSError: the file can't be read.
        VisualSearchError: `malformed_body` if a line is so long that the file can't be an export.
    """
    if place.offset:
        os.lseek(descriptor, place.offset, os.SEEK_SET)
    offset, rest, too_long = place.offset, b"", False
    line_start = offset
    while block := os.read(descriptor, _BLOCK_BYTES):
        first, *others = block.split(b"\n")
        if not others:
            offset += len(first) * too_long
            rest += b"" if too_long else first
        else:
            for line in (rest + first, *others[:-1]):
                line_start = offset = offset + len(line) + 1
                yield offset, None if too_long else line
                too_long = False
            rest = others[-1]
        if len(rest) > MAX_LINE_BYTES:
            # The rest of the line is counted but not kept; the line is yielded once, at its end.
            offset += len(rest)
            rest, too_long = b"", True
        if offset - line_start > _MAX_SKIPPED_BYTES:
            raise VisualSearchError(
                "malformed_body", f"a line is longer than {_MAX_SKIPPED_BYTES:,} bytes, so the input is not an export"
            )
    if rest or too_long:
        yield offset + len(rest), None if too_long else rest


def read_chunks(descriptor: int, place: Place) -> Iterator[Chunk]:
    """Cut lines into requests, in which no id occurs twice.

    Raises:
        OSError: the file can't be read.
        VisualSearchError: `malformed_body` for a header of another version.
    """
    chunk, size = Chunk(end=place), 0
    keys: set[tuple[str | None, str | None]] = set()
    is_open, number, documents, lacking = place.open, place.line, place.documents, place.lacking
    for offset, line in read_lines(descriptor, place):
        number += 1
        parsed = _parse(line, number)
        key = (parsed.collection, parsed.id) if isinstance(parsed, Document) else None
        size += len(line or b"")
        full = len(chunk.documents) >= CHUNK_DOCUMENTS or size > CHUNK_BYTES or len(chunk.faults) >= CHUNK_DOCUMENTS
        if (full or key in keys or isinstance(parsed, Header)) and (chunk.documents or chunk.faults):
            yield chunk
            chunk, size, keys = Chunk(), len(line or b""), set()
        match parsed:
            case Header():
                is_open, documents = True, 0
                yield Chunk(header=parsed, end=Place(offset, number, is_open, documents, lacking))
            case End():
                lacking += max(0, parsed.documents - documents)
                is_open, documents = False, 0
            case Document():
                documents += 1
                chunk.documents.append(LineDocument(number, parsed))
                keys.add((parsed.collection, parsed.id))
            case VisualSearchError():
                documents += 1
                chunk.faults.append(LineFault(number, parsed))
        chunk.end = Place(offset, number, is_open, documents, lacking)
    yield chunk


def read_first(path: Path) -> Header | Document | None:
    """The header or document in the first line of a file; None if it has neither.

    Raises:
        OSError: the file can't be read.
        VisualSearchError: `malformed_body` for a header of another version.
    """
    with path.open("rb", buffering=0) as stream:
        _, line = next(read_lines(stream.fileno(), Place()), (0, b""))
    first = _parse(line, 1)
    return first if isinstance(first, Header | Document) else None


def _parse(line: bytes | None, number: int) -> Header | Document | End | VisualSearchError | None:
    """Parse a line; None if it is empty, an error if it can't be read."""
    if line is None:
        return VisualSearchError("invalid_document", f"longer than {MAX_LINE_BYTES:,} bytes")
    content = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
    if not content.strip():
        return None
    try:
        return parse_line(content)
    except VisualSearchError as error:
        if error.code == "malformed_body":
            raise
        return error
