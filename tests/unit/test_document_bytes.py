"""Documents are written byte by byte as docarray writes them, and read back by its own reader."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from docarray import DocList
from docarray.proto import DocListProto
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from executors.document_bytes import encode_documents
from executors.document_faults import FAULT
from executors.documents import ARRAY_FIELDS, BYTES_FIELDS, INTEGER_FIELDS, TEXT_FIELDS, Failure, ImageDoc, Match

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
tags = st.dictionaries(
    texts,
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | texts,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
DTYPES: list[Any] = [np.uint8, np.float32, np.float64, np.int64, np.float16, np.bool_, np.dtype(">f4")]
numbers: st.SearchStrategy[Any] = arrays.arrays(
    st.sampled_from(DTYPES),
    arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(TEXT_FIELDS, texts),
    **dict.fromkeys(BYTES_FIELDS, st.binary(max_size=300)),
    **dict.fromkeys(ARRAY_FIELDS, numbers),
    **dict.fromkeys(INTEGER_FIELDS, st.integers(-(2**31), 2**31 - 1)),
    "tags": tags,
    "box": st.lists(st.floats(0, 1e6), min_size=4, max_size=4),
    "error": st.builds(Failure, code=st.just("internal"), message=texts, details=tags, stage=texts),
    "matches": st.lists(st.builds(Match, id=texts, score=st.floats(-1, 1), tags=tags), max_size=3).map(DocList[Match]),
}
documents = st.fixed_dictionaries({"id": texts}, optional={name: FIELDS[name] for name in FIELDS if name != "id"}).map(
    lambda values: ImageDoc.from_values(**values)
)


def written(*given: ImageDoc) -> DocListProto:
    """What docarray reads of the bytes."""
    return DocListProto.FromString(b"".join(encode_documents(given)))


def test_every_field_is_known() -> None:
    assert set(FIELDS) == set(ImageDoc.model_fields)


@given(st.lists(documents, max_size=4))
def test_the_message_is_the_one_that_docarray_makes(many: list[ImageDoc]) -> None:
    assert written(*many) == DocList[ImageDoc](many).to_protobuf()


@given(st.lists(documents, max_size=4))
def test_what_is_written_is_read_as_what_it_was(many: list[ImageDoc]) -> None:
    got = DocList[ImageDoc].from_protobuf(written(*many))
    expected = DocList[ImageDoc].from_protobuf(DocList[ImageDoc](many).to_protobuf())
    assert [repr(each.to_protobuf()) for each in got] == [repr(each.to_protobuf()) for each in expected]
    for sent, received in zip(many, got, strict=True):
        for name in ARRAY_FIELDS:
            if getattr(sent, name) is not None:
                np.testing.assert_array_equal(getattr(sent, name), getattr(received, name))
                assert getattr(sent, name).dtype == getattr(received, name).dtype


def test_a_large_document_and_a_view_of_an_array_keep_their_bytes() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    sent = ImageDoc(id="a", blob=bytes(200_000), tensor=picture[:, ::-1], embedding=np.arange(8.0)[::2])
    assert written(sent) == DocList[ImageDoc]([sent]).to_protobuf()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("uri", "\ud800"),
        ("text", 5),
        ("blob", "text"),
        ("tags", {"a": {1, 2}}),
        ("tensor", np.array([object()])),
        ("shards_total", 2**31),
        ("embedding", "no numbers"),
    ],
)
def test_a_document_that_cannot_be_sent_goes_as_its_error_and_costs_no_other(name: str, value: Any) -> None:
    bad = ImageDoc.from_values(id="bad")
    bad.__dict__[name] = value
    message = written(ImageDoc.from_values(id="one"), bad, ImageDoc.from_values(id="two"))
    assert [each.data["id"].text for each in message.docs] == ["one", "bad", "two"]
    assert [FAULT in each.data for each in message.docs] == [False, FAULT in bad.to_protobuf().data, False]
