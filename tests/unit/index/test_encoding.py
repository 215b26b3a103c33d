"""Documents as bytes are exact, or refused."""

from __future__ import annotations

import datetime
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.errors import VisualSearchError
from executors.index.encoding import (
    check_id,
    check_key,
    checksum_of,
    content_digest,
    decode_box,
    decode_embedding,
    decode_tags,
    encode_embedding,
    encode_record,
    encode_tags,
)
from executors.index.records import Record
from tests.support.stores.records import record, vector_of

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def code_of(record_of: Any) -> str:
    with pytest.raises(VisualSearchError) as refused:
        encode_record(record_of)
    return refused.value.code


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=5))
def test_tags_read_back_as_the_very_same_value(tags: dict[str, Any]) -> None:
    decoded = decode_tags(encode_tags(tags))
    # repr distinguishes 1, 1.0 and True, and 0.0 from -0.0.
    assert repr(decoded) == repr(tags)


@pytest.mark.parametrize(
    "tags",
    [
        {"x": float("nan")}, {"x": float("inf")}, {"x": 2**70}, {1: "x"}, {None: 1}, {"x": (1, 2)}, {"x": {1, 2}},
        {"x": b"bytes"}, {"x": datetime.date(2026, 1, 1)}, {"x": "\ud800"}, {"\ud800": 1}, ["x"], "x", None,
        {"x": np.float32(1)}, {"x": ...},
    ],
    ids=repr,
)  # fmt: skip
def test_tags_that_json_can_not_hold_exactly_are_refused(tags: Any) -> None:
    assert code_of(record("a", tags=tags)) == "invalid_tags"


def test_tags_nested_without_end_are_refused() -> None:
    tags: dict[str, Any] = {}
    tags["x"] = tags
    assert code_of(record("a", tags=tags)) == "invalid_tags"


@pytest.mark.parametrize("document_id", ["", "x" * 513, "é" * 257, "\ud800", None, 5])
def test_ids_beyond_1_to_512_bytes_of_utf8_are_refused(document_id: Any) -> None:
    assert code_of(record("a", id=document_id)) == "invalid_id"
    with pytest.raises(VisualSearchError, match="invalid_id"):
        check_key("images", document_id, "v")


@pytest.mark.parametrize("document_id", ["\x00", "x" * 512, "é" * 256])
def test_every_other_id_is_fine(document_id: str) -> None:
    check_id(document_id)


def named(field: str, value: object) -> dict[str, Any]:
    return {field: value}


@pytest.mark.parametrize("field", [each.name for each in fields(Record) if "str" in each.type and each.name != "id"])
def test_a_lone_surrogate_is_no_text(field: str) -> None:
    assert code_of(record("a", **named(field, "x\ud800"))) == "invalid_document"


@pytest.mark.parametrize("field", ["collection", "version", "model_id"])
def test_what_names_a_write_can_not_be_missing(field: str) -> None:
    assert code_of(record("a", **named(field, None))) == "invalid_document"


@pytest.mark.parametrize(
    "embedding",
    [
        [0.0] * 8, [float("nan")] * 8, [float("inf")] + [0.0] * 7, [1e30] * 8, [1.1] + [0.0] * 7, [0.9] + [0.0] * 7, [],
        [[1.0, 0.0]], 1.0, None, "vector",
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.filterwarnings("error")
def test_anything_but_a_finite_unit_vector_is_refused(embedding: Any) -> None:
    given_as = np.asarray(embedding, dtype=np.float32) if isinstance(embedding, list) else embedding
    assert code_of(record("a", embedding=given_as)) == "invalid_embedding"


def test_vectors_are_stored_as_little_endian_float32() -> None:
    vector = vector_of(1)
    given_as: Any
    for given_as in (vector, vector.astype(">f4"), vector.astype(np.float64), np.repeat(vector, 2)[::2]):
        encoded = encode_embedding(given_as)
        assert encoded == vector.astype("<f4").tobytes()
        np.testing.assert_array_equal(decode_embedding(encoded), vector)


@pytest.mark.parametrize("box", [(1, 2, 3), (1.0, 2.0, 3.0, float("nan")), ("1", 2, 3, 4), 5, (None,) * 4])
def test_a_box_that_is_not_four_finite_numbers_is_refused(box: Any) -> None:
    assert code_of(record("a", box=box)) == "invalid_document"


@pytest.mark.parametrize("box", [(0.1, 1e300, -0.0, 5e-324), (1, 2, 3, 4), None])
def test_boxes_are_exact(box: Any) -> None:
    assert repr(decode_box(encode_record(record("a", box=box)).box)) == repr(box)


def test_a_box_of_numpy_numbers_is_stored_as_plain_ones() -> None:
    box = tuple(np.asarray([0.5, 1, 2, 3], dtype=np.float32))
    assert decode_box(encode_record(record("a", box=box)).box) == (0.5, 1.0, 2.0, 3.0)


def test_a_checksum_belongs_to_the_vector_and_to_its_row() -> None:
    embedding = encode_embedding(vector_of(1))
    checksum = checksum_of(7, embedding)
    assert checksum_of(7, embedding) == checksum
    assert checksum_of(8, embedding) != checksum
    for bit in range(0, len(embedding) * 8, 13):
        flipped = bytearray(embedding)
        flipped[bit // 8] ^= 1 << bit % 8
        assert checksum_of(7, bytes(flipped)) != checksum


def test_the_digest_is_of_the_content_not_of_the_version_or_the_id() -> None:
    one = encode_record(record("a", 1, tags={"x": 1, "y": 2}, uri="u"))
    assert encode_record(record("b", 2, tags={"y": 2, "x": 1}, uri="u")).digest == one.digest
    assert encode_record(replace(record("a", 1, tags={"x": 1, "y": 2}, uri="u"), text="t")).digest != one.digest


def test_fields_do_not_run_into_each_other_in_the_digest() -> None:
    digests = {
        content_digest(b"v", "ab", "c", None, None, None),
        content_digest(b"v", "a", "bc", None, None, None),
        content_digest(b"v", "ab", None, None, "c", None),
        content_digest(b"v", "", None, None, None, None),
        content_digest(b"v", None, "", None, None, None),
        content_digest(b"v", None, None, None, None, None),
        content_digest(b"v", None, None, None, None, b""),
    }
    assert len(digests) == 7


def test_digests_and_checksums_are_the_same_for_ever() -> None:
    """They are stored, and compared across processes and releases: a change needs a new format."""
    fields: dict[str, Any] = {"tags": {"b": [1, None], "a": 0.5}, "box": (1.0, 2.0, 3.0, 4.0)}
    encoded = encode_record(record("a", 1, embedding=np.eye(8, dtype=np.float32)[0], **fields))
    assert encoded.digest.hex() == "4d70ce11fae46a45bb4f58eb71bbe7f8"
    assert checksum_of(1, encoded.embedding) == 3327562982
