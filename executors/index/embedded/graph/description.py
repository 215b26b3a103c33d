"""The description at the end of a graph's file: which graph it is, and the length and checksums of its arrays."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from executors.index.embedded.graph.native import FAISS_VERSION

FORMAT: Final = 1
_MAGIC: Final = b"VSGRAPH\n"
TRAILER: Final = struct.Struct("<IIQ8s")
_LONGEST_DESCRIPTION: Final = 1 << 24


class GraphFileInvalid(Exception):  # noqa: N818 - a state of the file, which is expected to happen
    """The file can't be used, for `reason`; the graph has to be rebuilt."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Stamp:
    """The identity of a graph.

    Attributes:
        store_id: the store's; `epoch`: of its contents; `sequence`: the last transaction that the graph covers.
        collection: the collection's number.
        dimension, precision, m, ef_construction, count: of the graph.
        faiss_version, file_format: the versions that wrote the file.
    """

    store_id: str
    epoch: str
    sequence: int
    collection: int
    dimension: int
    precision: str
    m: int
    ef_construction: int
    count: int
    faiss_version: str = FAISS_VERSION
    file_format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Description:
    """The stamp, the size of each array in bytes, the CRC-32 of each piece of the file, and the entry point of a walk."""

    stamp: Stamp
    sizes: Mapping[str, int]
    checksums: Sequence[int]
    entry_point: int
    max_level: int


def encode(description: Description, start: int) -> bytes:
    """The bytes after the arrays, which take the first `start` bytes of the file."""
    text = orjson.dumps(asdict(description))
    return text + TRAILER.pack(len(text), zlib.crc32(text), start + len(text) + TRAILER.size, _MAGIC)


def text_length(trailer: bytes, size: int) -> int:
    """The length in bytes of the description, which ends before the trailer, in a file of `size` bytes.

    Raises:
        GraphFileInvalid: these bytes are no trailer of a graph file.
    """
    length, _, said, magic = TRAILER.unpack(trailer)
    if magic != _MAGIC or said != size or length > min(size - TRAILER.size, _LONGEST_DESCRIPTION):
        raise GraphFileInvalid("it is truncated, or not a graph")
    return int(length)


def decode(text: bytes, trailer: bytes, start: int) -> Description:
    """The description of a file whose arrays take the first `start` bytes.

    Raises:
        GraphFileInvalid: it is damaged, of another format, or does not describe such arrays.
    """
    if zlib.crc32(text) != TRAILER.unpack(trailer)[1]:
        raise GraphFileInvalid("its description is damaged")
    try:
        read: dict[str, Any] = orjson.loads(text)
        said_stamp = read.pop("stamp")
        if said_stamp.get("file_format") != FORMAT:
            raise GraphFileInvalid(f"it is of format {said_stamp.get('file_format')}, not {FORMAT}")
        description = Description(stamp=Stamp(**said_stamp), **read)
        _check_types(description)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise GraphFileInvalid("its description does not match") from error
    if sum(description.sizes.values()) != start or description.sizes != _sizes(description):
        raise GraphFileInvalid("its arrays are not as long as its description says")
    return description


def _check_types(description: Description) -> None:
    """Check the types of the values, which JSON does not guarantee."""
    stamp = description.stamp
    whole = (*description.sizes.values(), *description.checksums, stamp.count, stamp.sequence)
    if any(type(each) is not int or each < 0 for each in whole):
        raise TypeError("lengths, checksums and counts are whole numbers")
    if type(stamp.store_id) is not str or type(stamp.epoch) is not str:
        raise TypeError("the names of a store and an epoch are text")
    if type(description.entry_point) is not int or type(description.max_level) is not int:
        raise TypeError("an entry point is a whole number")


def _sizes(description: Description) -> dict[str, int]:
    """The size in bytes of each array for a number of vectors; only the size of the links may vary."""
    stamp = description.stamp
    return {
        "rows": 8 * stamp.count,
        "codes": stamp.count * stamp.dimension * (2 if stamp.precision == "half" else 4),
        "levels": 4 * stamp.count,
        "offsets": 8 * (stamp.count + 1),
        "neighbors": description.sizes.get("neighbors", 0) // 4 * 4,
    }
