"""The one document keeps what is put into it, on every way that it travels."""

import numpy as np
import orjson
import pytest
from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from docarray.utils.create_dynamic_doc_class import create_base_doc_from_schema, create_pure_python_type_model

from executors.documents import Failure, ImageDoc, Match


def full_document() -> ImageDoc:
    return ImageDoc(
        id="ähm/1",
        collection="images",
        parent="p",
        box=[1, 2.5, 3, 4],
        text="t",
        uri="file.jpg",
        blob=b"\x00\xff",
        tensor=np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
        embedding=np.array([0.6, 0.8], np.float32),
        tags={"big": 2**53, "float": 1.5, "none": None, "list": [1, "a", True], "nested": {"ü": 1}},
        thumbnail=b"jpeg",
        model_id="m@1",
        version="v",
        result="created",
        error=Failure(code="internal", message="m", details={"n": 1}, stage="embed"),
        matches=DocList[Match]([Match(id="a", score=0.5, tags={"n": 2**40}, box=[0, 0, 1, 1])]),
        hits=b"{}",
        shards_total=2,
        shards_answered=1,
    )


def test_every_field_survives_the_wire() -> None:
    sent = full_document()
    received = ImageDoc.from_protobuf(sent.to_protobuf())
    for name in ImageDoc.model_fields:
        expected, got = getattr(sent, name), getattr(received, name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(expected, got)
            assert expected.dtype == got.dtype
        elif name == "matches":
            assert [match.model_dump() for match in got] == [match.model_dump() for match in expected]
        else:
            assert got == expected, name


def test_integers_beyond_32_bits_survive_in_tags() -> None:
    for number in (2**31, -(2**53), 2**53):
        assert ImageDoc.from_protobuf(ImageDoc(tags={"n": number}).to_protobuf()).tags == {"n": number}


def test_an_unset_document_is_small_and_gets_an_id() -> None:
    assert set(ImageDoc().to_protobuf().data) == {"id"}
    assert ImageDoc().id != ImageDoc().id


def test_documents_of_other_classes_with_the_same_names_are_read() -> None:
    class Foreign(BaseDoc):
        blob: bytes = b"picture"
        tags: dict[str, object] = {"a": {"b": 1}}  # noqa: RUF012 - pydantic copies defaults
        embedding: NdArray | None = None
        unknown: str = "dropped"

    received = ImageDoc.from_protobuf(Foreign(embedding=np.ones(3)).to_protobuf())
    assert received.blob == b"picture"
    assert received.tags == {"a": {"b": 1}}
    np.testing.assert_array_equal(received.embedding, np.ones(3))


def test_a_field_of_the_wrong_kind_is_refused() -> None:
    message = ImageDoc(id="a").to_protobuf()
    message.data["blob"].text = "not bytes"
    with pytest.raises(ValueError, match="blob"):
        ImageDoc.from_protobuf(message)


def test_the_schema_survives_jinas_exchange_between_executors() -> None:
    schema = create_pure_python_type_model(ImageDoc).model_json_schema()
    rebuilt = create_base_doc_from_schema(schema, "ImageDoc", {})
    assert set(rebuilt.model_fields) == set(ImageDoc.model_fields)


def test_a_received_document_can_be_printed_as_json() -> None:
    received = ImageDoc.from_protobuf(full_document().to_protobuf())
    received.blob = received.thumbnail = received.hits = None
    assert orjson.loads(received.model_dump_json())["tags"]["big"] == 2**53


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused_where_it_is_sent(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        ImageDoc(tags={"a": [None, bad]}).to_protobuf()
    assert ImageDoc(tags={"a": None}).to_protobuf().data["tags"].text == '{"a":null}'
