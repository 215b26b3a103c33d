"""The documents that the gateway accepts, and those that it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from executors.document_values import plain_tags
from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.admission import Gate
from executors.gateway.document_checks import Takes, admit_documents, check_id, check_request


def code_of(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(VisualSearchError) as caught:
        call(*arguments)
    return caught.value.code


def document(document_id: str | None, **values: object) -> ImageDoc:
    return ImageDoc.from_values(id=document_id, **values)


def test_an_empty_request_is_refused() -> None:
    assert code_of(check_request, [], 10) == "empty_request"


def test_the_same_id_twice_is_refused_in_one_collection_only() -> None:
    assert code_of(check_request, [document("a"), document("a")], 10) == "duplicate_id"
    check_request([document("a", collection="x"), document("a", collection="y")], 10)
    check_request([document(None), document(None)], 10)


def test_too_many_documents_are_refused() -> None:
    assert code_of(check_request, [document("a"), document("b")], 1) == "too_many_documents"


@pytest.mark.parametrize("good", ["a", "é" * 256, "x" * 512, "../../etc", " ", "\U0001f600"])
def test_ids_of_up_to_512_bytes_are_taken(good: str) -> None:
    check_id(good)


@pytest.mark.parametrize("bad", ["", None, "x" * 513, "é" * 257, 7, "\ud800"])
def test_other_ids_are_refused(bad: object) -> None:
    assert code_of(check_id, bad) == "invalid_id"


def test_missing_ids_are_made_and_named() -> None:
    documents = [document("kept"), document(None), document(None)]
    assert admit_documents(documents, Takes.CONTENT, collection=None) == {documents[1].id, documents[2].id}
    assert documents[0].id == "kept"
    assert len({each.id for each in documents}) == 3


@pytest.mark.parametrize("of_request", [None, "products"])
def test_an_empty_collection_is_not_a_missing_one(of_request: str | None) -> None:
    """Else a delete of a document in "" would remove the one of the default collection."""
    empty, missing = document("a", collection=""), document("a")
    check_request([empty, missing], 10, of_request)
    admit_documents([empty, missing], Takes.IDS, collection=of_request)
    assert empty.error is not None
    assert empty.error.code == "invalid_document"
    assert missing.error is None
    assert missing.collection == of_request


@pytest.mark.parametrize("takes", [Takes.CONTENT, Takes.IDS])
def test_an_empty_id_is_not_a_missing_one(takes: Takes) -> None:
    """Else each repetition of the same request would store another document."""
    empty = document("")
    assert admit_documents([empty], takes, collection=None) == set()
    assert empty.error is not None
    assert empty.error.code == "invalid_id"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"blob": b""}, "no_content"),
        ({"blob": b"", "embedding": np.ones(3)}, "no_content"),
        ({"embedding": np.array(["1"])}, "invalid_embedding"),
        ({"embedding": np.array([None])}, "invalid_embedding"),
        ({"embedding": np.ones((2, 2))}, "invalid_embedding"),
        ({"embedding": np.array([])}, "invalid_embedding"),
        ({"embedding": np.array([1, np.nan])}, "invalid_embedding"),
        ({"embedding": np.zeros(3)}, "invalid_embedding"),
        ({"box": [1, 2]}, "invalid_document"),
        ({"box": [1, 2, 3, None]}, "invalid_document"),
        ({"box": [1, 2, 3, float("inf")]}, "invalid_document"),
        ({"model_id": ""}, "invalid_document"),
        ({"tags": [1]}, "invalid_tags"),
    ],
)
@pytest.mark.parametrize("takes", [Takes.CONTENT, Takes.QUERIES, Takes.IDS, Takes.TAGS])
def test_what_no_endpoint_takes_has_one_code_for_all(fields: dict[str, Any], code: str, takes: Takes) -> None:
    bad = document("a", **fields)
    admit_documents([bad], takes, collection=None)
    assert bad.error is not None
    assert bad.error.code == code


def test_an_update_takes_nothing_but_tags() -> None:
    documents = [document("a", tags={"x": 1}), document("b", uri="u"), document("c", embedding=np.ones(3))]
    admit_documents(documents, Takes.TAGS, collection=None)
    assert [each.error.code if each.error else None for each in documents] == [
        None,
        "invalid_document",
        "invalid_document",
    ]


def test_one_bad_document_costs_no_other() -> None:
    documents = [
        document("x" * 600),
        document("good"),
        document("b", tags={"n": 2**60}),
        document("c", collection="a b"),
        document("d", collection=".."),
    ]
    admit_documents(documents, Takes.CONTENT, collection=None)
    assert [each.error.code if each.error else None for each in documents] == [
        "invalid_id",
        None,
        "invalid_tags",
        "invalid_document",
        "invalid_document",
    ]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        "text",
        {"n": 2**53 + 1},
        {"n": float("nan")},
        {"n": float("inf")},
        {"x": object()},
        {"x": "y" * 70_000},
        {1: 2},
    ],
)
def test_tags_that_a_store_could_not_keep_exactly_are_refused(bad: object) -> None:
    assert code_of(plain_tags, bad) == "invalid_tags"


def test_deeply_nested_tags_are_refused_before_they_are_written() -> None:
    deep: dict = {}
    inner = deep
    for _ in range(500):
        inner["a"] = {}
        inner = inner["a"]
    assert code_of(plain_tags, deep) == "invalid_tags"


def test_tags_of_all_kinds_are_taken() -> None:
    plain_tags({"s": "x", "i": -(2**53), "f": 1e300, "b": True, "n": None, "l": [1, [2, {"a": []}]], "d": {"": 0}})


def test_the_gate_refuses_the_request_too_many_and_frees_its_places() -> None:
    gate = Gate(1)
    with gate.enter():
        with pytest.raises(VisualSearchError) as caught, gate.enter():
            pass
        assert (caught.value.code, caught.value.status) == ("overloaded", 429)
    with gate.enter():
        assert gate.in_flight == 1
    assert gate.in_flight == 0


def test_a_stopping_gateway_refuses_new_requests() -> None:
    gate = Gate(1)
    gate.draining = True
    with pytest.raises(VisualSearchError) as caught, gate.enter():
        pass
    assert caught.value.code == "draining"


def test_an_id_stands_twice_also_where_one_names_the_default_collection() -> None:
    twice = [ImageDoc.from_values(id="a"), ImageDoc.from_values(id="a", collection="images")]
    assert code_of(check_request, twice, 10) == "duplicate_id"
    check_request(twice, 10, "others")
