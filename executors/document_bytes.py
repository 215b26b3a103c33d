"""The bytes of documents as docarray would send them, written with one copy; docarray's own way makes four.

The format is protobuf's (https://protobuf.dev/programming-guides/encoding), of the messages `DocListProto`, `DocProto`,
`NodeProto` and `NdArrayProto` in docarray.proto. A property test compares what is written here with docarray's own.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from executors.document_faults import fault_message
from executors.documents import ARRAY_FIELDS, BYTES_FIELDS, INTEGER_FIELDS, TEXT_FIELDS, ImageDoc, json_texts

Piece: TypeAlias = bytes | memoryview

# A tag is the number of a field, shifted by 3, and the kind of its value: 2 for one whose length is told, 0 for an integer.
_DOCS: Final = b"\x0a"  # DocListProto.docs = 1
_DATA: Final = b"\x0a"  # DocProto.data = 1, a map: each entry has a key = 1 and a value = 2
_TEXT: Final = b"\x0a"  # NodeProto.text = 1
_INTEGER: Final = b"\x10"  # NodeProto.integer = 2
_BLOB: Final = b"\x2a"  # NodeProto.blob = 5
_NDARRAY: Final = b"\x32"  # NodeProto.ndarray = 6
_DENSE: Final = b"\x0a"  # NdArrayProto.dense = 1
_BUFFER: Final = b"\x0a"  # DenseNdArrayProto.buffer = 1
_SHAPE: Final = b"\x12"  # DenseNdArrayProto.shape = 2, packed
_DTYPE: Final = b"\x1a"  # DenseNdArrayProto.dtype = 3
_TYPE_NDARRAY: Final = b"\x6a\x07ndarray"  # NodeProto.type = 13
_INT32: Final = range(-(2**31), 2**31)


def encode_documents(documents: Iterable[ImageDoc]) -> list[Piece]:
    """Write a list of documents as the message `DocListProto`.

    A document into which something was put that can't be sent goes as its error, as in `ImageDoc.to_protobuf`.

    Returns:
        The pieces of the message; joining them is the one copy.
    """
    pieces: list[Piece] = []
    for document in documents:
        try:
            encoded = _document(document)
        except Exception as error:  # whatever a caller has put into a document
            encoded = [fault_message(document.__dict__, error).SerializeToString()]
        pieces += (_DOCS, _varint(_size(encoded)), *encoded)
    return pieces


def field(tag: bytes, pieces: Sequence[Piece]) -> list[Piece]:
    """Write a message as a field of another one."""
    return [tag, _varint(_size(pieces)), *pieces]


def _document(document: ImageDoc) -> list[Piece]:
    values = document.__dict__
    pieces: list[Piece] = []
    for name in TEXT_FIELDS:
        if (value := values[name]) is not None:
            pieces += _entry(name, field(_TEXT, [_checked(value, str).encode()]))
    for name in BYTES_FIELDS:
        if (value := values[name]) is not None:
            pieces += _entry(name, field(_BLOB, [_checked(value, bytes)]))
    for name in ARRAY_FIELDS:
        if (value := values[name]) is not None:
            pieces += _entry(name, _array(np.asarray(value)))
    for name in INTEGER_FIELDS:
        if (value := values[name]) is not None:
            pieces += _entry(name, [_INTEGER, _integer(value)])
    for name, text in json_texts(document):
        pieces += _entry(name, field(_TEXT, [text.encode()]))
    return pieces


def _entry(name: str, node: list[Piece]) -> list[Piece]:
    """An entry of the map from names of fields to their values."""
    return field(_DATA, [_KEYS[name], b"\x12", _varint(_size(node)), *node])


def _array(array: np.ndarray[Any, Any]) -> list[Piece]:
    """An array as docarray sends it.

    Raises:
        TypeError: it holds Python's objects, of which only the addresses could be sent.
    """
    if array.dtype.hasobject:
        raise TypeError("an array of objects")
    packed = np.ascontiguousarray(array)
    # A view has no bytes of an array without any, nor of dates.
    plain = packed.size and packed.dtype.kind in "biufc"
    buffer = packed.view(np.ndarray).data.cast("B") if plain else packed.tobytes()
    shape = b"".join(map(_varint, array.shape))
    dense = [
        *(field(_BUFFER, [buffer]) if len(buffer) else ()),
        *(field(_SHAPE, [shape]) if shape else ()),
        *field(_DTYPE, [array.dtype.str.encode()]),
    ]
    return [*field(_NDARRAY, field(_DENSE, dense)), _TYPE_NDARRAY]


def _integer(value: Any) -> bytes:
    number = operator.index(value)
    if number not in _INT32:
        raise ValueError(f"{number} is no integer of 32 bits")
    return _varint(number % 2**64)


def _checked(value: Any, kind: type) -> Any:
    """The value, if it has the type that its field declares: what was put into a document later was not checked.

    Raises:
        TypeError: it has another one.
    """
    if not isinstance(value, kind):
        raise TypeError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _varint(number: int) -> bytes:
    if number < 0x80:
        return _SMALL[number]
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _size(pieces: Iterable[Piece]) -> int:
    return sum(map(len, pieces))


_SMALL: Final = tuple(bytes([number]) for number in range(0x80))
_KEYS: Final = {name: b"\x0a" + _varint(len(name)) + name.encode() for name in ImageDoc.model_fields}
