"""Documents as bytes: the exact stored form, and the digests and checksums that prove it. Pure functions."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from executors.document_values import MAX_ID_BYTES
from executors.errors import VisualSearchError
from executors.index.records import Box, DocumentKey, Record, Superseded, Tags, TagUpdate

_DIGEST_BYTES: Final = 16
# Callers normalise; half-precision models leave a relative error of up to about 2^-11. A vector with a larger error is
# not a unit vector.
_NORM_TOLERANCE: Final = 1e-3
_STORED_FLOAT: Final = np.dtype("<f4")
T = TypeVar("T")
Item = TypeVar("Item")
KeyLike = TypeVar("KeyLike", DocumentKey, Superseded, TagUpdate)


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """A record whose every field is known to be storable. `embedding` is little-endian float32."""

    collection: str
    id: str
    version: str
    model_id: str
    embedding: bytes
    tags: str
    uri: str | None
    parent: str | None
    box: str | None
    text: str | None
    thumbnail: bytes | None
    content_digest: bytes
    digest: bytes


def encode_record(record: Record) -> EncodedRecord:
    """Check and encode one document.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_embedding`, `invalid_tags`, `invalid_document`.
    """
    check_id(record.id)
    for name in ("collection", "version", "model_id"):
        _check_text(name, getattr(record, name))
    for name in ("uri", "parent", "text"):
        _check_text(name, getattr(record, name) or "")
    embedding = encode_embedding(record.embedding)
    tags = encode_tags(record.tags)
    box = _encode_box(record.box)
    thumbnail = None if record.thumbnail is None else bytes(record.thumbnail)
    content = content_digest(embedding, record.uri, record.parent, box, record.text, thumbnail)
    return EncodedRecord(
        collection=record.collection,
        id=record.id,
        version=record.version,
        model_id=record.model_id,
        embedding=embedding,
        tags=tags,
        uri=record.uri,
        parent=record.parent,
        box=box,
        text=record.text,
        thumbnail=thumbnail,
        content_digest=content,
        digest=document_digest(content, record.tags),
    )


def check_id(value: str) -> None:
    """Check an id: any text of 1 to 512 bytes of UTF-8, NUL included.

    Raises:
        VisualSearchError: `invalid_id`.
    """
    encoded = _utf8(value)
    if encoded is None or not 1 <= len(encoded) <= MAX_ID_BYTES:
        raise VisualSearchError("invalid_id", f"an id must be 1 to {MAX_ID_BYTES} bytes of UTF-8")


def check_key(collection: str, document_id: str, version: str) -> None:
    """Check the names in a delete, an update or a supersede.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`.
    """
    check_id(document_id)
    _check_text("collection", collection)
    _check_text("version", version)


def is_text(value: str) -> bool:
    """Whether the text can be stored: a lone surrogate is not a character and has no UTF-8."""
    return _utf8(value) is not None


def encode_tags(tags: Tags) -> str:
    """Tags as JSON that reads back as exactly the same value: the order of keys, integers, floats, null and everything
    else.

    Raises:
        VisualSearchError: `invalid_tags` for values that JSON can't hold exactly (NaN, huge integers, dates, keys that
            are not text).
    """
    try:
        encoded = orjson.dumps(tags)
        same = isinstance(tags, dict) and orjson.loads(encoded) == tags
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise VisualSearchError(
            "invalid_tags", "tags must be a JSON object (text keys, finite numbers, exact integers)"
        )
    return encoded.decode()


def decode_tags(encoded: str) -> Tags:
    """Tags as they were given."""
    tags: Tags = orjson.loads(encoded)
    return tags


def sound_tags(encoded: str, content: bytes, digest: bytes) -> Tags | None:
    """Tags as they were given; None if they don't match the document's digest (see `document_digest`)."""
    try:
        tags: Tags = orjson.loads(encoded)
        return tags if document_digest(content, tags) == digest else None
    except (ValueError, TypeError):
        return None


def decode_box(encoded: str | None) -> Box | None:
    """The box as it was given."""
    if encoded is None:
        return None
    x, y, w, h = orjson.loads(encoded)
    return x, y, w, h


def encode_embedding(embedding: NDArray[np.float32]) -> bytes:
    """A unit vector of D float32 as little-endian bytes.

    Raises:
        VisualSearchError: `invalid_embedding` for another shape, values that are not finite, or another length than 1.
    """
    # Overflow becomes infinity, which is refused below.
    with np.errstate(over="ignore"):
        try:
            vector = np.asarray(embedding, dtype=_STORED_FLOAT)
        except (TypeError, ValueError):
            vector = np.empty(0, dtype=_STORED_FLOAT)
        if vector.ndim != 1 or not vector.size:
            raise VisualSearchError("invalid_embedding", "an embedding must be one vector of numbers")
        norm = float(np.sqrt(np.dot(vector, vector)))
    # A NaN fails this comparison, too.
    if not abs(norm - 1.0) <= _NORM_TOLERANCE:
        raise VisualSearchError("invalid_embedding", "an embedding must be finite and of unit length", norm=repr(norm))
    return vector.tobytes()


def decode_embeddings(encoded: Sequence[bytes], dimension: int) -> NDArray[np.float32]:
    """N x D float32 from vectors of D numbers each; read-only."""
    return np.frombuffer(b"".join(encoded), dtype=_STORED_FLOAT).reshape(len(encoded), dimension)


def decode_embedding(encoded: bytes) -> NDArray[np.float32]:
    """D float32; read-only."""
    return np.frombuffer(encoded, dtype=_STORED_FLOAT)


def checksum_of(row: int, embedding: bytes) -> int:
    """CRC-32 of a stored vector followed by its row number (8 bytes, little-endian), so that it also detects a vector
    in another row's place.
    """
    return zlib.crc32(row.to_bytes(8, "little"), zlib.crc32(embedding))


def content_digest(
    embedding: bytes, uri: str | None, parent: str | None, box: str | None, text: str | None, thumbnail: bytes | None
) -> bytes:
    """BLAKE2b-128 of everything but the tags and the version; each field follows its length, so different contents have
    different inputs.
    """
    texts = (None if value is None else value.encode() for value in (uri, parent, box, text))
    return _digest((embedding, *texts, thumbnail))


def document_digest(content: bytes, tags: Tags) -> bytes:
    """BLAKE2b-128 of the whole content; the order of keys does not matter."""
    # Searches check one digest for each hit, so this is `_digest((content, encoded))` written out.
    encoded = orjson.dumps(tags, option=orjson.OPT_SORT_KEYS)
    parts = len(content).to_bytes(8, "little") + content + len(encoded).to_bytes(8, "little") + encoded
    return hashlib.blake2b(parts, digest_size=_DIGEST_BYTES).digest()


def _digest(fields: Iterable[bytes | None]) -> bytes:
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for field in fields:
        digest.update((-1 if field is None else len(field)).to_bytes(8, "little", signed=True))
        if field is not None:
            digest.update(field)
    return digest.digest()


def _encode_box(box: Box | None) -> str | None:
    if box is None:
        return None
    try:
        # Boxes come from detectors, which return numpy numbers.
        numbers = [value.item() if isinstance(value, np.generic) else value for value in box]
    except TypeError:
        numbers = []
    if len(numbers) != 4 or not all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
        raise VisualSearchError("invalid_document", "box must be four finite numbers: x, y, w, h", field="box")
    return orjson.dumps(numbers).decode()


def _check_text(name: str, value: str) -> None:
    if not is_text(value):
        raise VisualSearchError("invalid_document", f"{name} must be text", field=name)


def _utf8(value: str) -> bytes | None:
    try:
        return value.encode()
    except (AttributeError, UnicodeEncodeError):
        return None


def encode_each(items: Sequence[Item], encode: Callable[[Item], T]) -> list[T | VisualSearchError]:
    """The result of `encode` for each item, or the error that it raises."""
    encoded: list[T | VisualSearchError] = []
    for item in items:
        try:
            encoded.append(encode(item))
        except VisualSearchError as error:
            encoded.append(error)
    return encoded


def check_write(write: KeyLike) -> KeyLike:
    """A write, if its names can be stored.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`.
    """
    check_key(write.collection, write.id, write.version)
    return write


def check_update(update: TagUpdate) -> TagUpdate:
    """An update, if its names and tags can be stored.

    Raises:
        VisualSearchError: `invalid_id`, `invalid_document`, `invalid_tags`.
    """
    encode_tags(update.tags)
    return check_write(update)
