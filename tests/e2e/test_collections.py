"""Collections over HTTP, against real flows: bound once, counted over all shards, gone when they are dropped."""

import orjson
import pytest
import requests

from executors.documents import ImageDoc
from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow
from tests.support.stores.shards import post_to_shards


@pytest.fixture
def api(sharded: RunningFlow) -> Api:
    return Api(sharded.http_url)


def path(api: Api, name: str | None = None) -> str:
    return f"{api.url}/collections/{api.collection if name is None else name}"


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_from_creation_to_drop(api: Api) -> None:
    made = requests.put(path(api), json={}, timeout=30).json()
    assert made["result"] == "created"
    assert (made["collection"]["name"], made["collection"]["dimension"]) == (api.collection, 1280)
    assert made["collection"]["model_id"].startswith("efficientnet-lite0@")
    assert requests.put(path(api), timeout=30).json() == made | {"result": "unchanged"}
    for n, vector in enumerate(unit_vectors(7)):
        api.index_vectors({str(n): vector})
    assert requests.get(path(api), timeout=30).json()["collection"]["documents"] == 7
    listed = requests.get(f"{api.url}/collections", timeout=30).json()["collections"]
    assert [each["documents"] for each in listed if each["name"] == api.collection] == [7]
    assert [each["name"] for each in listed] == sorted(each["name"] for each in listed)
    assert requests.delete(path(api), timeout=30).json() == {"result": "deleted", "documents": 7}
    assert code(requests.get(path(api), timeout=30)) == (404, "collection_not_found")
    assert code(requests.delete(path(api), timeout=30)) == (404, "collection_not_found")
    query = {"embedding": unit_vectors(1)[0].tolist()}
    assert api.post("/search", [query]).json()["data"][0]["error"]["code"] == "collection_not_found"
    assert api.refused("/count") == (404, "collection_not_found")


def test_a_dropped_collection_comes_back_empty_and_may_be_bound_to_another_model(api: Api) -> None:
    api.index_vectors({"old": unit_vectors(1)[0]}, tags={"n": 1})
    requests.delete(path(api), timeout=30)
    made = requests.put(path(api), json={"model_id": "tiny@1", "dimension": 8}, timeout=30).json()
    assert (made["collection"]["dimension"], made["collection"]["documents"]) == (8, 0)
    small = unit_vectors(1, dimension=8)[0].tolist()
    assert api.ok("/index", {"id": "old", "embedding": small, "model_id": "tiny@1"})[0]["result"] == "created"
    assert [each["tags"] for each in api.scroll()] == [{}]


def test_another_model_or_dimension_than_it_is_bound_to_is_refused(api: Api) -> None:
    requests.put(path(api), json={"model_id": "tiny@1", "dimension": 8}, timeout=30)
    for body, expected in (
        ({}, (409, "model_mismatch")),
        ({"model_id": "tiny@1", "dimension": 9}, (400, "dimension_mismatch")),
        ({"dimension": 8}, (400, "dimension_mismatch")),
        ({"model_id": "tiny@1"}, (400, "invalid_parameter")),
        ({"model_id": 1}, (400, "invalid_parameter")),
        ({"shards": 1}, (400, "invalid_parameter")),
        ({"collection": "x"}, (400, "invalid_parameter")),
        ([], (400, "malformed_body")),
    ):
        assert code(requests.put(path(api), json=body, timeout=30)) == expected, body
    assert code(requests.put(path(api), data=b"{", timeout=30)) == (400, "malformed_body")
    assert code(requests.put(path(api, "a b"), json={}, timeout=30)) == (400, "invalid_parameter")
    assert requests.post(path(api), json={}, timeout=30).status_code == 405


def test_a_write_brings_back_what_another_gateway_dropped(sharded: RunningFlow, api: Api) -> None:
    vectors = unit_vectors(6)
    version = api.index_vectors({"a": vectors[0]})[0]["version"]
    columns = orjson.dumps({"collection": api.collection, "version": version + "z"})
    post_to_shards(sharded, "/drop", ImageDoc(id="report", hits=columns))
    for n, vector in enumerate(vectors[1:]):
        assert api.index_vectors({f"new{n}": vector})[0]["result"] == "created"
    assert [each["id"] for each in api.scroll()] == [f"new{n}" for n in range(5)]
    assert requests.get(path(api), timeout=30).json()["collection"]["documents"] == 5


def test_a_rebuild_is_started_and_changes_no_answer(api: Api) -> None:
    vectors = unit_vectors(40, seed=4)
    api.index_vectors({f"{n:02}": vector for n, vector in enumerate(vectors)})
    before = api.search_vector(vectors[0], limit=40)
    assert requests.post(
        f"{api.url}/reindex", json={"parameters": {"collection": api.collection}}, timeout=30
    ).json() == {"ok": True}
    assert api.search_vector(vectors[0], limit=40) == before
    assert api.refused("/reindex", collection="nobodys") == (404, "collection_not_found")
    shards = requests.get(f"{api.url}/status", timeout=30).json()["index"]["shards"]
    assert all("graphs" in shard for shard in shards)
