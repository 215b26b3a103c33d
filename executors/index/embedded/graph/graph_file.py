"""The file of a graph: a cache that saves a rebuild, never the source of truth.

Layout: the arrays one after another, then a description (JSON: the stamp, each array's length, a CRC-32 of every 8
MiB), then 24 bytes: the description's length and CRC-32, four bytes each, the file's length and a magic word, eight
each. A checksum covers every byte, and nothing is put into the graph before it is checked. The file gets its name only
when it is complete.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.embedded.graph.description import (
    TRAILER,
    Description,
    GraphFileInvalid,
    Stamp,
    decode,
    encode,
    text_length,
)
from executors.index.embedded.graph.hnsw import FAISS_VERSION, HnswGraph, Precision

__all__ = ["GraphFileInvalid", "LoadedGraph", "Stamp", "load", "read_stamp", "remove", "save"]


_PIECE: Final = 1 << 23
_SYNCED_AT_ONCE: Final = 1 << 26
_CHECKING_THREADS: Final = 2


@dataclass(frozen=True, slots=True)
class LoadedGraph:
    """A graph from a file, the row number of each slot (int64), and the stamp."""

    graph: HnswGraph
    rows: NDArray[np.int64]
    stamp: Stamp


def save(graph: HnswGraph, rows: NDArray[np.int64], stamp: Stamp, folder: Path, name: str) -> int:
    """Write a graph; the old file of that name stays until the new one is complete and on disk.

    Searches may run meanwhile, adds may not.

    Args:
        rows: the row number of each slot.

    Returns:
        The file's length in bytes.

    Raises:
        ValueError: the stamp or the rows don't belong to the graph.
        OSError: the disk is full or can't be written; the old file is still there, and nothing else.
    """
    _check_agreement(graph, rows, stamp)
    temporary = _temporary(folder, name)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "wb", buffering=0):
            written = _write(descriptor, graph, rows, stamp)
        temporary.replace(folder / name)
        _sync_folder(folder)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    return written


def remove(folder: Path, name: str) -> None:
    """Remove a graph's file and any unfinished file that a crash left.

    Raises:
        OSError: the folder can't be written.
    """
    (folder / name).unlink(missing_ok=True)
    _temporary(folder, name).unlink(missing_ok=True)


def read_stamp(folder: Path, name: str) -> Stamp:
    """Read the stamp of a file, without checking the arrays.

    Raises:
        GraphFileInvalid: there is none, or its description is damaged or of another format.
    """
    with closing(_open(folder, name)) as file:
        return _describe(file.descriptor).stamp


def load(
    folder: Path,
    name: str,
    *,
    store_id: str,
    collection: int,
    dimension: int,
    precision: Precision,
    m: int = 16,
    ef_construction: int = 200,
    capacity: int = 0,
) -> LoadedGraph:
    """Read a graph with room for `capacity` vectors, or for those that it has if there are more.

    The caller must check `epoch` and `sequence` of the stamp.

    Raises:
        GraphFileInvalid: there is none, it is damaged anywhere, or it belongs to something else.
        MemoryError: there is not enough memory.
    """
    with closing(_open(folder, name)) as file:
        description = _describe(file.descriptor)
        stamp = description.stamp
        _check_stamp(stamp, store_id, collection, dimension, precision, m, ef_construction)
        graph = HnswGraph(
            dimension,
            precision=precision,
            capacity=max(capacity, stamp.count),
            m=m,
            ef_construction=ef_construction,
            used=stamp.count,
        )
        rows = np.empty(stamp.count, dtype=np.int64)
        arrays = _arrays(graph, rows, description)
        _read(file.descriptor, arrays, description.checksums)
    try:
        graph.settle(description.entry_point, description.max_level)
    except ValueError as error:
        raise GraphFileInvalid(f"it holds {error}") from error
    return LoadedGraph(graph, rows, stamp)


class _File:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def close(self) -> None:
        os.close(self.descriptor)


def _open(folder: Path, name: str) -> _File:
    try:
        return _File(os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError as error:
        raise GraphFileInvalid("there is no file") from error
    except OSError as error:
        raise GraphFileInvalid(f"it can't be opened: {error.strerror}") from error


def _temporary(folder: Path, name: str) -> Path:
    return folder / f"{name}.tmp"


def _check_agreement(graph: HnswGraph, rows: NDArray[np.int64], stamp: Stamp) -> None:
    said = (stamp.dimension, stamp.precision, stamp.m, stamp.ef_construction, stamp.count)
    if said != (graph.dimension, graph.precision, graph.m, graph.ef_construction, graph.count):
        raise ValueError("the stamp is not the graph's")
    if rows.dtype != np.int64 or rows.shape != (graph.count,):
        raise ValueError("there must be one row number, int64, for each slot")


def _write(descriptor: int, graph: HnswGraph, rows: NDArray[np.int64], stamp: Stamp) -> int:
    arrays = graph.arrays()
    named: dict[str, NDArray[Any]] = {
        "rows": rows,
        "codes": arrays.codes,
        "levels": arrays.levels,
        "offsets": arrays.offsets,
        "neighbors": arrays.neighbors,
    }
    checksums: list[int] = []
    written = synced = 0
    for piece in _pieces([_bytes(each) for each in named.values()]):
        # zlib and the system calls release the GIL, so searches continue.
        checksums.append(zlib.crc32(piece))
        _write_all(descriptor, piece)
        written += len(piece)
        if written - synced >= _SYNCED_AT_ONCE:
            # Flushing a gigabyte at the end would make the database's own fsync wait for seconds.
            os.fdatasync(descriptor)
            synced = written
    sizes = {name: each.nbytes for name, each in named.items()}
    end = encode(Description(stamp, sizes, checksums, graph.entry_point, graph.max_level), written)
    _write_all(descriptor, memoryview(end))
    os.fsync(descriptor)
    return written + len(end)


def _describe(descriptor: int) -> Description:
    try:
        size = os.fstat(descriptor).st_size
        if size < TRAILER.size:
            raise GraphFileInvalid("it is truncated")
        trailer = _read_exactly(descriptor, TRAILER.size, size - TRAILER.size)
        length = text_length(trailer, size)
        start = size - TRAILER.size - length
        return decode(_read_exactly(descriptor, length, start), trailer, start)
    except OSError as error:
        raise GraphFileInvalid(f"it can't be read: {error.strerror}") from error


def _check_stamp(
    stamp: Stamp, store_id: str, collection: int, dimension: int, precision: Precision, m: int, ef_construction: int
) -> None:
    expected = {
        "store_id": store_id,
        "collection": collection,
        "dimension": dimension,
        "precision": precision,
        "m": m,
        "ef_construction": ef_construction,
        "faiss_version": FAISS_VERSION,
    }
    for each in fields(stamp):
        if each.name in expected and getattr(stamp, each.name) != expected[each.name]:
            raise GraphFileInvalid(f"its {each.name} is {getattr(stamp, each.name)}, not {expected[each.name]}")


def _arrays(graph: HnswGraph, rows: NDArray[np.int64], description: Description) -> list[memoryview]:
    """The memory that receives the bytes of the file, in the order of the file."""
    arrays = graph.expand(description.stamp.count, description.sizes["neighbors"] // 4)
    places: dict[str, NDArray[Any]] = {
        "rows": rows,
        "codes": arrays.codes,
        "levels": arrays.levels,
        "offsets": arrays.offsets,
        "neighbors": arrays.neighbors,
    }
    return [_bytes(each) for each in places.values()]


def _read(descriptor: int, arrays: Sequence[memoryview], checksums: Sequence[int]) -> None:
    pieces = list(_pieces(arrays))
    starts = list(accumulate((len(piece) for piece in pieces), initial=0))
    if len(pieces) != len(checksums):
        raise GraphFileInvalid("its description does not match")

    def check(number: int) -> bool:
        return _fill(descriptor, pieces[number], starts[number]) and zlib.crc32(pieces[number]) == checksums[number]

    try:
        with ThreadPoolExecutor(_CHECKING_THREADS, "graph-file") as pool:
            sound = list(pool.map(check, range(len(pieces))))
    except OSError as error:
        raise GraphFileInvalid(f"it can't be read: {error.strerror}") from error
    if not all(sound):
        raise GraphFileInvalid(f"it is damaged after byte {starts[sound.index(False)]}")


def _bytes(array: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(array).view(np.uint8).data if array.size else memoryview(b"")


def _pieces(arrays: Sequence[memoryview]) -> Iterator[memoryview]:
    for array in arrays:
        for start in range(0, len(array), _PIECE):
            yield array[start : start + _PIECE]


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read_exactly(descriptor: int, length: int, start: int) -> bytes:
    buffer = bytearray(length)
    if not _fill(descriptor, memoryview(buffer), start):
        raise GraphFileInvalid("it is truncated")
    return bytes(buffer)


def _fill(descriptor: int, target: memoryview, start: int) -> bool:
    """Fill a buffer from an offset of the file; returns whether there were enough bytes."""
    while target:
        got = os.preadv(descriptor, [target], start)
        if not got:
            return False
        target, start = target[got:], start + got
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
