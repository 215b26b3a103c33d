"""Every document read in order, and deleted with what came from it, against real flows."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow


@pytest.fixture
def api(sharded: RunningFlow) -> Api:
    return Api(sharded.http_url)


def index_spread(api: Api, names: list[str], **fields: object) -> None:
    """One request each, so that they lie in all shards."""
    for name, vector in zip(names, unit_vectors(len(names), seed=9), strict=True):
        api.index_vectors({name: vector}, **fields)


def test_all_documents_in_the_order_of_code_points(api: Api) -> None:
    names = ["a/1", "A", "z", "é", "日本", "\U0001f600", "0", "a", "~", "Z", "~~"]
    index_spread(api, names, tags={"seen": True})
    for limit in (1, 4, 100):
        assert [each["id"] for each in api.scroll(limit=limit)] == sorted(names)
    assert [each["id"] for each in api.scroll(after="a")] == sorted(names)[4:]
    assert api.told("/scroll", limit=100)["next"] is None
    assert api.told("/scroll", limit=3)["next"] == sorted(names)[2]


def test_what_is_scrolled_is_what_is_stored(api: Api, pictures: list[bytes]) -> None:
    data = [
        {"id": str(n), "blob": base64.b64encode(blob).decode(), "tags": {"n": n}} for n, blob in enumerate(pictures)
    ]
    for start in range(0, 12, 2):
        api.ok("/index", data[start : start + 2])
    asked = {"with": ["embedding", "thumbnail"]}
    scrolled = {each["id"]: each for each in api.scroll(**asked)}
    got = api.ok("/get", [{"id": str(n)} for n in range(12)], **asked)
    assert scrolled == {each["id"]: each for each in got}
    assert base64.b64decode(got[0]["thumbnail"]).startswith(b"\xff\xd8\xff")
    assert all("embedding" not in each and "thumbnail" not in each for each in api.scroll())


def test_a_scroll_sees_every_document_that_was_there_all_the_time(api: Api) -> None:
    names = [f"k{n:03}" for n in range(60)]
    api.index_vectors(dict(zip(names, unit_vectors(60), strict=True)))
    vectors = unit_vectors(40, seed=2)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [api.index_vectors({f"k{n:03}-new": vector}) for n, vector in enumerate(vectors)])
        found = [each["id"] for each in api.scroll(limit=7)]
        writing.result()
    assert set(found) >= set(names)
    assert len(set(found)) == len(found)
    assert found == sorted(found)


def test_a_document_exported_and_imported_is_the_same_to_the_bit(api: Api, one_picture: bytes) -> None:
    api.ok("/index", [{"id": "a", "blob": base64.b64encode(one_picture).decode(), "tags": {"n": 2**53}, "uri": "u"}])
    asked = {"with": ["embedding", "thumbnail"]}
    exported = api.scroll(**asked)[0]
    kept = ("id", "embedding", "thumbnail", "tags", "uri", "model_id")
    other = Api(api.url)
    assert other.ok("/index", [{name: exported[name] for name in kept}])[0]["result"] == "created"
    imported = other.scroll(**asked)[0]
    assert {name: imported[name] for name in kept} == {name: exported[name] for name in kept}
    assert other.ok("/index", [{name: imported[name] for name in kept}])[0]["result"] == "unchanged"
    thumbnail = requests.get(f"{api.url}/thumbnail/{other.collection}/a", timeout=30)
    assert thumbnail.content == base64.b64decode(exported["thumbnail"])


@pytest.mark.parametrize(
    "document",
    [
        {"thumbnail": "R0lGODlh"},
        {"thumbnail": "!!!"},
        {"thumbnail": 7},
        {"thumbnail": base64.b64encode(b"\xff\xd8\xff" + bytes(70_000)).decode()},
        {"thumbnail": "/9j/4A==", "blob": "/9j/4A=="},
        {"thumbnail": "/9j/4A==", "embedding": None, "blob": "/9j/4A=="},
        {"thumbnail": "/9j/4A==", "embedding": None},
    ],
    ids=["a GIF", "not base64", "a number", "too large", "beside a blob", "of a blob", "alone"],
)
def test_a_thumbnail_that_can_not_be_taken(flow: RunningFlow, document: dict) -> None:
    api = Api(flow.http_url)
    given = {"id": "a", "embedding": unit_vectors(1)[0].tolist()} | document
    answer = api.post("/index", [{name: value for name, value in given.items() if value is not None}])
    assert (answer.status_code, answer.json()["data"][0]["error"]["code"]) == (400, "invalid_document"), answer.text


def test_a_parent_takes_with_it_what_came_from_it_wherever_it_is(api: Api) -> None:
    vectors = unit_vectors(30, seed=12)
    for n in range(30):
        parent = {} if n % 10 == 0 else {"parent": f"{n - 1:02}"}
        api.index_vectors({f"{n:02}": vectors[n]}, **parent)
    body = api.post("/delete", [{"id": "10"}, {"id": "25"}, {"id": "nobody"}]).json()
    assert [(each["result"], each["descendants"]) for each in body["data"]] == [
        ("deleted", 9),
        ("deleted", 4),
        ("not_found", 0),
    ]
    assert body["parameters"]["deleted"] == 15
    left = [f"{n:02}" for n in range(30) if not 10 <= n < 20 and n < 25]
    assert [each["id"] for each in api.scroll()] == left
    assert {match["id"] for match in api.search_vector(vectors[10], limit=100)} == set(left)


def test_a_delete_by_filter_says_how_many_went(api: Api) -> None:
    vectors = unit_vectors(40, seed=13)
    for start in range(0, 40, 8):
        data = [
            {"id": f"{n:02}", "embedding": vectors[n].tolist(), "tags": {"n": n}}
            | ({"parent": f"{n - 20:02}"} if n >= 20 else {})
            for n in range(start, start + 8)
        ]
        api.ok("/index", data)
    body = api.post("/delete", filter={"n": {"$lt": 5}}).json()
    assert (body["data"], body["parameters"]["deleted"]) == ([], 10)
    assert api.told("/count")["count"] == 30
    assert [each["id"] for each in api.scroll()] == [f"{n:02}" for n in range(40) if n % 20 >= 5]
    assert api.told("/delete", filter={"n": {"$lt": 5}})["deleted"] == 0
    assert api.refused("/delete", filter={}) == (400, "invalid_parameter")
    assert api.refused("/delete", [{"id": "01"}], filter={"n": 1}) == (400, "invalid_parameter")
    assert api.refused("/delete") == (400, "empty_request")


def test_a_deleted_crop_of_a_picture_can_be_indexed_again(api: Api) -> None:
    first, second = unit_vectors(2, seed=14)
    api.index_vectors({"picture": first})
    api.index_vectors({"crop": second}, parent="picture")
    api.ok("/delete", [{"id": "picture"}])
    assert api.index_vectors({"crop": second}, parent="picture")[0]["result"] == "created"
    assert [match["id"] for match in api.search_vector(second)] == ["crop"]


@pytest.mark.parametrize("endpoint", ["/scroll", "/count"])
def test_unknown_collections_and_wrong_requests(sharded: RunningFlow, endpoint: str) -> None:
    api = Api(sharded.http_url)
    assert api.refused(endpoint) == (404, "collection_not_found")
    assert api.refused(endpoint, [{"id": "a"}]) == (400, "invalid_parameter")
    assert api.refused(endpoint, limt=5) == (400, "invalid_parameter")
    assert api.refused("/scroll", limit=0) == (400, "invalid_parameter")
    assert api.refused("/scroll", limit=10_001) == (400, "invalid_parameter")
    assert api.refused("/scroll", **{"with": ["blob"]}) == (400, "invalid_parameter")


def test_thousands_of_documents_with_vectors_in_one_page(flow: RunningFlow) -> None:
    api = Api(flow.http_url)
    vectors = unit_vectors(2_500, dimension=16, seed=15)
    for start in range(0, 2_500, 500):
        data = [
            {"id": f"{n:05}", "embedding": vectors[n].tolist(), "model_id": "tiny@1"} for n in range(start, start + 500)
        ]
        api.ok("/index", data)
    page = api.post("/scroll", limit=10_000, **{"with": ["embedding"]}).json()
    assert [each["id"] for each in page["data"]] == [f"{n:05}" for n in range(2_500)]
    assert page["parameters"]["next"] is None
    np.testing.assert_allclose(np.asarray([each["embedding"] for each in page["data"]]), vectors, atol=1e-7)
