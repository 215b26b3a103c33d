"""The one document keeps what is put into it, on every way that it travels."""

import datetime
import enum
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from docarray.utils.create_dynamic_doc_class import create_base_doc_from_schema, create_pure_python_type_model

from executors.document_faults import FAULT
from executors.document_values import plain_tags
from executors.documents import Failure, ImageDoc, Match
from executors.errors import VisualSearchError


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
    sent, unset = full_document(), ImageDoc()
    received = ImageDoc.from_protobuf(sent.to_protobuf())
    for name in ImageDoc.model_fields:
        # Only a value that is not the default shows whether the field was sent.
        assert repr(getattr(sent, name)) != repr(getattr(unset, name)), name
        expected, got = getattr(sent, name), getattr(received, name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(expected, got)
            assert expected.dtype == got.dtype
        elif name == "matches":
            assert [match.model_dump() for match in got] == [match.model_dump() for match in expected]
        else:
            assert got == expected, name


def test_an_error_of_a_newer_stage_is_read() -> None:
    message = ImageDoc(id="a").to_protobuf()
    message.data["error"].text = '{"code": "too_wonderful", "message": "m", "details": {}, "stage": "faces"}'
    received = ImageDoc.from_protobuf(message)
    assert received.error is not None
    assert (received.error.code, received.error.stage) == ("internal", "faces")
    assert received.error.details == {"service_code": "too_wonderful"}


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
    image_doc: Any = ImageDoc
    schema = create_pure_python_type_model(image_doc).model_json_schema()
    rebuilt = create_base_doc_from_schema(schema, "ImageDoc", {})
    assert set(rebuilt.model_fields) == set(ImageDoc.model_fields)


# DocArray writes tensors as lists, where Pydantic expects the bytes that its schema names.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_a_received_document_can_be_printed_as_json() -> None:
    received = ImageDoc.from_protobuf(full_document().to_protobuf())
    received.blob = received.thumbnail = received.hits = None
    assert orjson.loads(received.model_dump_json())["tags"]["big"] == 2**53


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_refused_where_it_is_sent(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        ImageDoc(tags={"a": [None, bad]}).to_protobuf()
    assert ImageDoc(tags={"a": None}).to_protobuf().data["tags"].text == '{"a":null}'


class Circle(dict):
    """Holds itself."""

    def __init__(self) -> None:
        super().__init__()
        self["self"] = self


class UnreadableError(Exception):
    """Can't even be printed."""

    def __str__(self) -> str:
        raise KeyError


class Hostile:
    """An array by its own account, and no value like any other."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.error

    def __bool__(self) -> bool:
        raise self.error

    def __len__(self) -> int:
        raise self.error

    def items(self) -> Any:
        raise self.error


Mapping.register(Hostile)


class Colour(enum.StrEnum):
    RED = "red"


NOT_JSON: list[Any] = [
    float("nan"),
    float("-inf"),
    np.float32("nan"),
    b"bytes",
    np.bytes_(b"bytes"),
    {1, 2},
    frozenset(),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    np.datetime64("2024-01-01"),
    np.datetime64(5, "ns"),
    np.timedelta64(5, "ns"),
    np.array(np.timedelta64(5, "ns")),
    np.ma.masked,
    np.ma.array(5, mask=True),
    np.array((1, 2), dtype="i4,i4")[()],
    1j,
    np.arange(3),
    "\ud800",
    np.str_("\udfff"),
    2**53 + 1,
    -(2**70),
    10**5000,
    np.uint64(2**63),
    {1: 2},
    {"\ud800": 1},
    {None: 1},
    {10**5000: 1},
    Circle(),
    "x" * 70_000,
]


@pytest.mark.parametrize("bad", NOT_JSON, ids=lambda bad: type(bad).__name__)
@pytest.mark.parametrize("place", [lambda bad: bad, lambda bad: [None, {"deep": (bad,)}]], ids=["here", "deep"])
def test_tags_that_are_not_json_are_refused_where_the_document_is_made(bad: Any, place: Callable[[Any], Any]) -> None:
    with pytest.raises(ValueError, match="tags"):
        ImageDoc(tags={"a": place(bad)})
    document = ImageDoc(id="a")
    with pytest.raises(ValueError, match="tags"):
        document.tags = {"a": place(bad)}


@pytest.mark.parametrize("bad", NOT_JSON, ids=lambda bad: type(bad).__name__)
def test_tags_that_were_spoiled_later_travel_as_their_own_error(bad: Any) -> None:
    """An exception here would end the caller's program with a CancelledError, and lose every other document."""
    document = ImageDoc(id="a", uri="u", tags={"good": 1})
    document.tags["bad"] = bad
    received = ImageDoc.from_protobuf(document.to_protobuf())
    if received.error is None:
        # What JSON can express is refused by the gateway, by the same rule.
        with pytest.raises(VisualSearchError, match="invalid_tags"):
            plain_tags(received.tags)
    else:
        assert (received.id, received.error.code, received.error.stage) == ("a", "invalid_tags", "client")
        assert "tags" in received.error.message


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.int64(3), 3),
        (np.uint8(3), 3),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.float64(0.1), 0.1),
        (np.longdouble(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("ü"), "ü"),
        (np.array(7), 7),
        (Colour.RED, "red"),
        ((1, np.int8(2)), [1, 2]),
        ({np.str_("k"): {"n": np.int64(1)}}, {"k": {"n": 1}}),
    ],
)
def test_what_numpy_calls_a_number_or_a_text_is_one(given: Any, plain: Any) -> None:
    made = ImageDoc(tags={"a": given})
    assert repr(made.tags) == repr({"a": plain})
    changed = ImageDoc(tags={"a": 0})
    changed.tags["a"] = given
    for document in (made, changed):
        assert repr(ImageDoc.from_protobuf(document.to_protobuf()).tags) == repr({"a": plain})


@pytest.mark.parametrize(
    "fields",
    [
        *({name: "a\ud800"} for name in ("id", "collection", "parent", "text", "uri", "model_id")),
        {"box": [1, 2]},
        {"box": [1, 2, 3, float("nan")]},
        {"box": [10**400] * 4},
        {"blob": "aGVsbG8="},
        {"thumbnail": 5},
        {"embedding": 5},
        {"embedding": True},
        {"embedding": np.float32(1)},
        {"embedding": ["a"]},
        {"embedding": [None]},
        {"embedding": [[1], [1, 2]]},
        {"embedding": np.array([set()])},
        {"embedding": Hostile(RuntimeError("no"))},
        {"embedding": Hostile(UnreadableError())},
        {"tensor": Hostile(OverflowError())},
        {"embedding": [Hostile(KeyError())]},
        {"embedding": np.ma.array([0.5, 0.5], mask=[True, False])},
        {"embedding": "5"},
        {"embedding": "no JSON"},
        {"tensor": np.array([1j])},
        {"tags": None},
        {"tags": [1]},
    ],
)
def test_values_that_cannot_be_sent_are_refused_where_the_document_is_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        ImageDoc(**fields)


def test_bytes_may_come_in_any_buffer() -> None:
    for given in (b"xy", bytearray(b"xy"), memoryview(b"xy")):
        assert ImageDoc(blob=given).blob == b"xy"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("id", "\ud800", "invalid_id"),
        ("id", 5, "invalid_id"),
        ("uri", Path("a"), "invalid_document"),
        ("text", 5, "invalid_text"),
        ("version", 5, "invalid_document"),
        ("text", "\ud800", "invalid_text"),
        ("uri", "\ud800", "invalid_document"),
        ("embedding", np.array([set()]), "invalid_embedding"),
        ("tensor", np.array([set()]), "invalid_tensor"),
        ("embedding", [[1], [2, 3]], "invalid_embedding"),
        ("embedding", Hostile(UnreadableError()), "invalid_embedding"),
        ("tensor", Hostile(OverflowError()), "invalid_tensor"),
        ("tags", Hostile(UnreadableError()), "invalid_document"),
        ("tags", object(), "invalid_tags"),
        ("matches", Hostile(UnreadableError()), "invalid_document"),
        ("error", Hostile(UnreadableError()), "invalid_document"),
        ("box", [object()], "invalid_document"),
        ("box", [10**400, 0, 0, 0], "invalid_document"),
        ("box", Hostile(UnreadableError()), "invalid_document"),
        ("blob", "text", "invalid_document"),
        ("shards_total", 2**40, "invalid_document"),
    ],
)
def test_whatever_was_put_into_a_document_sending_it_raises_nothing(name: str, value: Any, code: str) -> None:
    document = ImageDoc(id="a")
    document.__dict__[name] = value
    received = ImageDoc.from_protobuf(document.to_protobuf())
    assert received.error is not None
    assert received.error.code == code
    assert received.id == (None if name == "id" else "a")


def test_a_document_that_lacks_its_fields_is_its_own_error() -> None:
    document = ImageDoc(id="a")
    document.__dict__.clear()
    received = ImageDoc.from_protobuf(document.to_protobuf())
    assert received.error is not None
    assert received.error.code == "invalid_tags"


def test_numpys_numbers_may_be_put_into_a_box() -> None:
    document = ImageDoc(box=[1, 2, 3, 4])
    assert document.box is not None
    document.box[0] = np.float64(0.5)
    assert ImageDoc.from_protobuf(document.to_protobuf()).box == [0.5, 2, 3, 4]


@pytest.mark.parametrize("text", ["", "[]", "5", '{"code": "internal"}', '{"code": "internal", "message": "m"}'])
def test_an_exception_of_another_library_is_a_fault_of_the_document(text: str) -> None:
    message = ImageDoc(id="a").to_protobuf()
    message.data[FAULT].text = text
    received = ImageDoc.from_protobuf(message)
    assert received.error is not None
    assert received.error.code == "invalid_document"


def test_an_error_travels_in_a_document_and_comes_back_as_it_was() -> None:
    error = VisualSearchError("stale_version", "too late", id="a", stored="v")
    sent = ImageDoc.from_values(id="a", error=Failure.of(error, "index"))
    received = ImageDoc.from_protobuf(sent.to_protobuf()).error
    assert received is not None
    assert received.stage == "index"
    assert received.to_error().to_json() == error.to_json()
