"""The requests of the client, and the way it reads the answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.client import DEFAULT_COLLECTION, Document, RetryPolicy, Term, VisualSearchClient
from executors.client.client import _named
from executors.client.requests import document_path, encode_request
from executors.errors import VisualSearchError, error_from_json
from executors.gateway.http.form_names import file_name
from tests.support.flows.wire_service import THUMBNAIL, Fault, WireService, wire_service

QUICK = RetryPolicy(attempts=4, base_s=0.01, cap_s=0.02)


@pytest.fixture
def service() -> Iterator[WireService]:
    with wire_service() as running:
        yield running


@pytest.fixture
async def client(service: WireService) -> AsyncIterator[VisualSearchClient]:
    async with VisualSearchClient(service.url, retry=QUICK, timeout_s=5) as made:
        yield made


NAMES = [
    "plain.jpg",
    "folder/with space.jpg",
    "Ölfarbe/日本語 🐈.png",
    'quote".jpg',
    "back\\slash.jpg",
    "per%20cent%.jpg",
    "line\r\nbreak.jpg",
    "semi;colon=1.jpg",
    "\x00\x1b[31m.jpg",
]


@pytest.mark.parametrize("name", NAMES)
async def test_a_picture_arrives_byte_for_byte_under_any_name(
    client: VisualSearchClient, service: WireService, name: str
) -> None:
    blob = bytes(range(256)) * 5 + b"\r\n--visual-search-\r\n"
    answer = await client.index([Document(id=name, blob=blob, uri=name, tags={"größe": [1, None]})], collection="c-1")
    assert answer[0].result == "created"
    stored = service.documents["c-1", name]
    assert (stored["blob"], stored["uri"], stored["tags"]) == (blob, name, {"größe": [1, None]})


async def test_pictures_are_sent_without_the_third_that_base64_adds(
    client: VisualSearchClient, service: WireService
) -> None:
    await client.index([Document(id=str(n), blob=b"x" * 100_000) for n in range(4)])
    assert service.bodies[0] < 402_000


async def test_every_field_of_a_document_arrives(client: VisualSearchClient, service: WireService) -> None:
    document = Document(
        id="crop",
        blob=b"picture",
        uri="label",
        tags={"a": 1},
        collection="products",
        parent="whole",
        box=(1, 2, 3.5, 4),
        text="text",
        model_id="tiny@1",
    )
    await client.index([document, Document(id="vector", embedding=[0.6, 0.8])])
    first, second = service.requests[0][1]
    assert first == {
        "id": "crop",
        "blob": b"picture",
        "uri": "label",
        "tags": {"a": 1},
        "collection": "products",
        "parent": "whole",
        "box": [1.0, 2.0, 3.5, 4.0],
        "text": "text",
        "model_id": "tiny@1",
    }
    assert second == {"id": "vector", "embedding": [0.6, 0.8]}


async def test_texts_are_asked_after_the_other_queries(client: VisualSearchClient, service: WireService) -> None:
    service.documents["images", "a.jpg"] = {"id": "a.jpg"}
    answer = await client.search(text="a red car", limit=1)
    assert [match.id for match in answer[0].matches] == ["a.jpg"]
    await client.search([Document(blob=b"picture")], text=["a red car", "二匹の猫 🐈"])
    await client.search([Document(text="alone")])
    sent = [[(doc.get("blob"), doc.get("text")) for doc in documents] for _, documents, _ in service.requests]
    assert sent == [
        [(None, "a red car")],
        [(b"picture", None), (None, "a red car"), (None, "二匹の猫 🐈")],
        [(None, "alone")],
    ]
    assert all(doc["id"] for _, documents, _ in service.requests for doc in documents)


async def test_files_are_named_by_their_paths_unless_ids_are_given(
    client: VisualSearchClient, service: WireService, tmp_path: Path
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"one")
    assert [each.id for each in await client.index_files([path])] == [path.as_posix()]
    await client.index_files([path], ids=["first"], tags={"k": "v"})
    assert service.documents["images", "first"]["tags"] == {"k": "v"}


@pytest.mark.parametrize("name", ["/dev/zero", "missing.jpg"])
async def test_a_file_that_can_t_be_read_is_named_and_nothing_is_sent(
    client: VisualSearchClient, service: WireService, tmp_path: Path, name: str
) -> None:
    good = tmp_path / "a.jpg"
    good.write_bytes(b"one")
    with pytest.raises(VisualSearchError, match=f"{name}: can't be read") as caught:
        await client.index_files([good, name])
    assert caught.value.code == "unreadable_file"
    assert service.requests == []


async def test_a_document_at_fault_raises_nothing_and_costs_no_other(
    client: VisualSearchClient, service: WireService
) -> None:
    documents = [Document(id="a", blob=b"x"), Document(id="b", blob=b"bad"), Document(id="c", blob=b"y")]
    answer = await client.index(documents)
    assert [each.result for each in answer] == ["created", None, "created"]
    assert answer[1].error is not None
    assert answer[1].error.code == "undecodable_image"
    assert answer.failed == 1


async def test_when_every_document_is_at_fault_the_results_still_come_back(client: VisualSearchClient) -> None:
    answer = await client.search([Document(blob=b"bad 1"), Document(blob=b"bad 2")])
    assert [each.error.code for each in answer if each.error] == ["undecodable_image"] * 2


async def test_an_error_of_the_request_is_raised_with_code_and_details(
    client: VisualSearchClient, service: WireService
) -> None:
    service.faults.append(Fault(status=400, code="invalid_parameter"))
    with pytest.raises(VisualSearchError) as caught:
        await client.search([Document(blob=b"x")], limit=0)
    error = caught.value
    assert (error.code, error.status, error.details) == ("invalid_parameter", 400, {"limit": 5})
    assert len(service.requests) == 1


def test_a_code_of_a_newer_service_is_kept_in_the_details() -> None:
    error = error_from_json({"code": "too_wonderful", "message": "no", "details": {"code": 1, "message": 2}})
    assert error is not None
    assert (error.code, error.message) == ("internal", "too_wonderful: no")
    assert error.details == {"code": 1, "message": 2, "service_code": "too_wonderful"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault(body="<html>nginx</html>", status=404), "unavailable"),
        (Fault(body="[1, 2]"), "unavailable"),
        (Fault(body='{"data": []}'), "internal"),
        (Fault(body='{"hello": 1}'), "internal"),
    ],
    ids=str,
)
async def test_an_answer_of_something_else_is_an_error(
    client: VisualSearchClient, service: WireService, fault: Fault, code: str
) -> None:
    service.standing_faults.append(fault)
    with pytest.raises(VisualSearchError) as caught:
        await client.search([Document(blob=b"x")])
    assert caught.value.code == code


async def test_search_passes_its_parameters_and_reads_the_matches(
    client: VisualSearchClient, service: WireService
) -> None:
    await client.index([Document(id=each, blob=b"x") for each in "abc"], collection="c")
    answer = await client.search(
        [Document(blob=b"q")], limit=2, offset=1, threshold=-0.5, collection="c", allow_partial=True
    )
    expected = {"limit": 2, "offset": 1, "threshold": -0.5, "collection": "c", "allow_partial": True}
    assert service.requests[-1][2] == expected
    assert [(hit.id, hit.score, hit.uri, hit.tags) for hit in answer[0].matches] == [
        ("a", 1.0, "label of a", {"n": 0}),
        ("b", 0.9, "label of b", {"n": 1}),
    ]
    assert answer.shards == {"total": 1, "answered": 1}


async def test_a_search_by_like_sends_no_document(client: VisualSearchClient, service: WireService) -> None:
    await client.index([Document(id="a", blob=b"x")])
    answer = await client.search_like("a", limit=1)
    assert service.requests[-1] == ("/search", [], {"limit": 1, "like": "a"})
    assert [hit.id for hit in answer[0].matches] == ["a"]


async def test_update_get_embed_and_delete(client: VisualSearchClient, service: WireService) -> None:
    await client.index([Document(id="a", blob=b"x", uri="label")])
    assert [each.result for each in await client.update({"a": {"n": 1}}, replace_tags=True)] == ["updated"]
    assert service.requests[-1][2] == {"mode": "replace"}
    found, missing = await client.get(["a", "b"], with_embedding=True)
    assert (found.uri, found.tags, len(found.embedding or ())) == ("label", {"n": 1}, 8)
    assert missing.error is not None
    assert missing.error.code == "not_found"
    assert [len(each.embedding or ()) for each in await client.embed([Document(blob=b"x")])] == [8]
    assert [each.result for each in await client.delete(["a", "b"])] == ["deleted", "not_found"]


async def test_verify_asks_for_repair_only_when_told(client: VisualSearchClient, service: WireService) -> None:
    assert (await client.verify()).ok
    await client.verify(repair=True)
    assert [parameters for _, _, parameters in service.requests] == [{}, {"repair": True}]


@pytest.mark.parametrize("name", [*NAMES, "../up.jpg", "a//b", "a/./b", "?query#fragment", "+ +"])
async def test_the_thumbnail_of_any_id_can_be_fetched(
    client: VisualSearchClient, service: WireService, name: str
) -> None:
    service.documents["images", name] = {}
    assert await client.thumbnail(name) == THUMBNAIL + name.encode()
    assert await client.thumbnail(name + "!") is None


async def test_an_id_that_is_not_unicode_is_an_error_not_a_crash(client: VisualSearchClient) -> None:
    with pytest.raises(VisualSearchError) as caught:
        await client.get(["caf\udce9.jpg"])
    assert caught.value.code == "invalid_id"


def test_the_default_collection_is_that_of_the_documents() -> None:
    from executors import documents

    assert DEFAULT_COLLECTION == documents.DEFAULT_COLLECTION


@pytest.mark.parametrize("bad", [float("nan"), b"bytes", object(), 2**53 + 1, "\ud800", {1: 2}])
def test_tags_that_are_not_json_are_refused_where_the_document_is_made(bad: object) -> None:
    """NaN would arrive as null, and anything else would cost the whole request."""
    with pytest.raises(VisualSearchError, match="invalid_tags"):
        Document(id="a", tags={"x": [bad]})
    assert Document(tags={"n": np.int64(3)}).tags == {"n": 3}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"id": 5}, "invalid_id"),
        ({"uri": Path("a.jpg")}, "invalid_document"),
        ({"text": b"a"}, "invalid_text"),
        ({"blob": "text"}, "invalid_document"),
        ({"thumbnail": [1]}, "invalid_document"),
        ({"box": [10**400] * 4}, "invalid_document"),
        ({"box": [1, 2]}, "invalid_document"),
        ({"box": "1234"}, "invalid_document"),
        ({"box": np.ones((2, 2))}, "invalid_document"),
        ({"embedding": 5}, "invalid_embedding"),
        ({"embedding": ["a"]}, "invalid_embedding"),
        ({"embedding": [[1], [2, 3]]}, "invalid_embedding"),
        ({"embedding": [[1, 2]]}, "invalid_embedding"),
        ({"embedding": [10**400]}, "invalid_embedding"),
        ({"embedding": [1, None]}, "invalid_embedding"),
        ({"embedding": [1, float("nan")]}, "invalid_embedding"),
        ({"tags": []}, "invalid_tags"),
        ({"tags": None}, "invalid_tags"),
    ],
)
def test_values_that_cannot_be_sent_are_refused_where_the_document_is_made(fields: dict[str, Any], code: str) -> None:
    """Later, they would cost every document of the request."""
    with pytest.raises(VisualSearchError, match=next(iter(fields))) as caught:
        Document(**fields)
    assert caught.value.code == code


async def test_arrays_and_buffers_are_sent_as_numbers_and_bytes(
    client: VisualSearchClient, service: WireService
) -> None:
    vector = np.array([0.1, 2], np.float32)
    await client.index([Document(id="a", embedding=vector, box=np.arange(4))])  # type: ignore[arg-type]
    await client.index([Document(id="b", blob=bytearray(b"picture"))])  # type: ignore[arg-type]
    (first,), (second,) = (documents for _, documents, _ in service.requests)
    assert first == {"id": "a", "embedding": [float(vector[0]), 2.0], "box": [0.0, 1.0, 2.0, 3.0]}
    assert second["blob"] == b"picture"


def test_an_empty_id_is_sent_as_it_is() -> None:
    assert [each.id for each in _named([Document(id=""), Document(id="a")])] == ["", "a"]


@pytest.mark.parametrize("number", [float("nan"), np.float32("nan"), np.float64("inf"), -float("inf")])
async def test_a_number_that_json_does_not_have_is_not_sent_as_null(
    client: VisualSearchClient, service: WireService, number: float
) -> None:
    """A delete would remove what has no value instead of nothing."""
    for filter_ in ({"n": number}, {"$or": [{"n": {"$in": [1, number]}}]}, {"n": np.array([number])}):
        for call in (client.delete_matching(filter_), client.count(filter=filter_), client.scroll(filter=filter_)):
            with pytest.raises(VisualSearchError, match="not a finite number") as refused:
                await call
            assert refused.value.code == "invalid_parameter"
    with pytest.raises(VisualSearchError, match=r"parameters\.threshold"):
        await client.search([Document(blob=b"x", id="a")], threshold=number)
    assert service.requests == []


@pytest.mark.parametrize("name", ["\ud800", None])
async def test_a_name_that_is_no_text_is_an_error_of_ours(
    client: VisualSearchClient, service: WireService, name: Any
) -> None:
    for call in (client.drop_collection(name), client.collection(name), client.thumbnail(name)):
        with pytest.raises(VisualSearchError, match="not valid Unicode"):
            await call
    assert service.requests == []


@pytest.mark.parametrize("blob", [b"picture", None])
async def test_tags_are_checked_again_when_they_are_sent(
    client: VisualSearchClient, service: WireService, blob: bytes | None
) -> None:
    document = Document(id="a", blob=blob, tags={"n": 1})
    document.tags["n"] = float("nan")  # type: ignore[index]
    with pytest.raises(VisualSearchError, match="invalid_tags"):
        await client.index([document])
    assert service.requests == []


@pytest.mark.parametrize("label", ["100%22.jpg", "a%0Db", "a%0ab", "=?utf-8?Q?a?=", "C:\\a.jpg", "a\nb", 'a"b'])
def test_a_label_that_a_form_would_change_goes_by_json(label: str) -> None:
    """In a form, it is the name of a file, in which some signs stand for others."""
    sent = encode_request([Document(id="a", blob=b"x", uri=label)], {})
    assert sent.content_type == "application/json"


@pytest.mark.parametrize("label", ["a.jpg", "2024/ä b;c=d.jpg", " a ", "?utf-8?"])
def test_a_label_in_a_form_is_read_as_it_was_given(label: str) -> None:
    sent = encode_request([Document(id="a", blob=b"x", uri=label)], {})
    assert sent.content_type.startswith("multipart/")
    (disposition,) = re.findall(rb'Content-Disposition: (form-data; name="file".*)\r\n', sent.content)
    assert file_name(disposition) == label


async def test_terms_travel_as_one_query(client: VisualSearchClient, service: WireService) -> None:
    terms = [Term(like="a"), Term(blob=b"one", weight=-0.5), Term(embedding=[1.0, 1.0]), Term(text="red", weight=1.5)]
    await client.search_terms(terms, limit=3, score_min=0.1, score_max=0.9, exclude_self=True)
    _, documents, parameters = service.requests[-1]
    assert [{"blob", "embedding", "text"} & set(each) for each in documents] == [{"blob"}, {"embedding"}, {"text"}]
    assert parameters == {
        "limit": 3,
        "score_min": 0.1,
        "score_max": 0.9,
        "exclude_self": True,
        "terms": [
            {"like": "a", "weight": 1.0},
            {"data": 0, "weight": -0.5},
            {"data": 1, "weight": 1.0},
            {"data": 2, "weight": 1.5},
        ],
    }


async def test_weights_travel_with_their_pictures(client: VisualSearchClient, service: WireService) -> None:
    await client.search([Document(blob=b"one"), Document(blob=b"two")], weights=(1, -0.5))
    _, documents, parameters = service.requests[-1]
    assert [each["blob"] for each in documents] == [b"one", b"two"]
    assert parameters == {"limit": 10, "weights": [1, -0.5]}


@pytest.mark.parametrize("given", [{}, {"like": "a", "text": "b"}, {"blob": b"x", "embedding": [1.0]}])
def test_a_term_is_exactly_one_thing(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Term(**given)


def test_the_path_of_a_document_carries_any_id_and_its_fields() -> None:
    assert document_path("a/..//ü ?", collection=None, tags=None, uri=None) == "/documents/a%2F..%2F%2F%C3%BC%20%3F"
    assert document_path("a", collection="c", tags={"n": [1]}, uri="b c") == (
        "/documents/a?collection=c&tags=%7B%22n%22%3A%5B1%5D%7D&uri=b%20c"
    )
    for code, arguments in (
        ("invalid_id", {"document_id": "\ud800", "tags": None}),
        ("invalid_tags", {"document_id": "a", "tags": {"n": float("nan")}}),
    ):
        with pytest.raises(VisualSearchError) as refused:
            document_path(**arguments, collection=None, uri=None)
        assert refused.value.code == code
