"""The promises of a sharded index, at one, two and three shards: one copy, the right answers, nothing hidden."""

import base64
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest
import requests

from executors.documents import ImageDoc
from executors.index.wire.columns import unpack
from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow
from tests.support.stores.shards import post_to_shards


@pytest.fixture
def api(sharded: RunningFlow) -> Api:
    return Api(sharded.http_url)


def test_a_reindexed_picture_is_not_found_by_its_old_looks(api: Api) -> None:
    old, new, *distractors = unit_vectors(60, seed=1)
    api.index_vectors({f"other{n}": vector for n, vector in enumerate(distractors)})
    for round_ in range(4):
        assert api.index_vectors({"x": old})[0]["result"] == ("created" if round_ == 0 else "replaced")
        assert api.index_vectors({"x": new})[0]["result"] == "replaced"
        found = api.search_vector(old, limit=100)
        assert [match["id"] for match in found].count("x") == 1
        assert next(match["score"] for match in found if match["id"] == "x") == pytest.approx(
            float(old @ new), abs=1e-6
        )
        assert api.search_vector(new, limit=1)[0]["id"] == "x"


def test_the_same_document_again_is_unchanged_whichever_shard_took_it(api: Api) -> None:
    vector = unit_vectors(1, seed=2)[0]
    results = [api.index_vectors({"same": vector}, tags={"a": 1})[0]["result"] for _ in range(4)]
    assert results == ["created", "unchanged", "unchanged", "unchanged"]


def test_a_deleted_document_is_gone_from_every_shard(api: Api) -> None:
    vectors = unit_vectors(12, seed=3)
    for n, vector in enumerate(vectors):
        api.index_vectors({str(n): vector})
    answers = api.ok("/delete", [{"id": str(n)} for n in range(0, 12, 2)])
    assert {each["result"] for each in answers} == {"deleted"}
    assert {match["id"] for match in api.search_vector(vectors[0], limit=100)} == {str(n) for n in range(1, 12, 2)}


def test_tags_are_updated_in_the_shard_that_holds_the_id(api: Api) -> None:
    vectors = unit_vectors(9, seed=4)
    for n, vector in enumerate(vectors):
        api.index_vectors({str(n): vector}, tags={"n": n})
    answers = api.ok("/update", [{"id": str(n), "tags": {"seen": True}} for n in range(9)])
    assert {each["result"] for each in answers} == {"updated"}
    assert api.search_vector(vectors[5], limit=1)[0]["tags"] == {"n": 5, "seen": True}


def test_any_number_of_shards_gives_the_same_answer(flows: dict[int, RunningFlow]) -> None:
    vectors = unit_vectors(90, seed=5)
    vectors[30:60] = vectors[:30]
    queries = unit_vectors(8, seed=6)
    answers = []
    # One name in all of them: the address of a thumbnail has it.
    collection = Api(flows[1].http_url).collection
    for shards in (1, 2, 3):
        api = Api(flows[shards].http_url, collection)
        for start in range(0, 90, 10):
            api.index_vectors({f"{n:03}": vectors[n] for n in range(start, start + 10)})
        answers.append([api.search_vector(query, limit=33, offset=2) for query in [*queries, vectors[0]]])
    assert answers[0] == answers[1] == answers[2]


def test_a_late_retry_neither_revives_nor_doubles(sharded: RunningFlow, api: Api) -> None:
    """Jina may execute a write again long after it was answered, and on another shard: the version decides."""
    vector = unit_vectors(1, seed=7)[0]
    first = api.index_vectors({"late": vector})[0]["version"]
    model_id = api.ok("/get", [{"id": "late"}])[0]["model_id"]

    def retry_everywhere() -> set[str]:
        document = ImageDoc(id="late", collection=api.collection, embedding=vector, model_id=model_id, version=first)
        return {each.error.code if each.error else "taken" for each in post_to_shards(sharded, "/index", document)}

    api.index_vectors({"late": -vector})
    assert retry_everywhere() == {"stale_version"}
    assert [match["score"] for match in api.search_vector(vector)] == [pytest.approx(-1, abs=1e-6)]
    assert api.ok("/delete", {"id": "late"})[0]["result"] == "deleted"
    assert retry_everywhere() == {"stale_version"}
    assert api.search_vector(vector) == []


def test_a_write_executed_twice_leaves_one_copy(sharded: RunningFlow, api: Api) -> None:
    """A retry may reach another shard than the first execution: superseding leaves the copy of the shard that answered."""
    vector = unit_vectors(1, seed=9)[0]
    api.index_vectors({"seed": -vector})
    known = api.ok("/get", [{"id": "seed"}])[0]
    version = known["version"] + "z"
    document = ImageDoc(
        id="twice", collection=api.collection, embedding=vector, model_id=known["model_id"], version=version
    )
    owner = post_to_shards(sharded, "/index", document)[-1]
    columns = {
        "collections": [api.collection],
        "ids": ["twice"],
        "versions": [version],
        "digests": [unpack(owner)["digest"]],
        "owners": [unpack(owner)["shard"][1]],
    }
    post_to_shards(sharded, "/supersede", ImageDoc(id="report", hits=orjson.dumps(columns)))
    assert sum(each["documents"] for each in shards_of(sharded, api.collection)) == 2
    repeated = post_to_shards(sharded, "/index", document)
    assert [each.error.code if each.error else each.result for each in repeated] == ["stale_version"] * (
        len(repeated) - 1
    ) + ["created"]
    assert [match["id"] for match in api.search_vector(vector)] == ["twice", "seed"]
    assert sum(each["documents"] for each in shards_of(sharded, api.collection)) == 2


def test_an_update_while_the_same_id_is_indexed_loses_neither(api: Api, pictures: list[bytes]) -> None:
    """Decoding and embedding take long: an update in between must not make the older copy the newer one."""
    old = unit_vectors(1, seed=14)[0]
    blobs = [base64.b64encode(each).decode() for each in pictures]
    for round_ in range(4):
        name = f"x{round_}"
        api.index_vectors({name: old}, tags={"copy": "old"})
        data = [{"id": name, "blob": blobs[0], "tags": {"copy": "new"}}]
        data += [{"id": f"{name}-{n}", "blob": blobs[n % 12]} for n in range(31)]
        with ThreadPoolExecutor(2) as pool:
            written = pool.submit(api.ok, "/index", data)
            while not written.done():
                api.ok("/update", [{"id": name, "tags": {"seen": True}}])
        assert written.result()[0]["error"] is None
        assert written.result()[0]["result"] == "replaced"
        stored = api.ok("/get", [{"id": name}], **{"with": ["embedding"]})[0]
        assert stored["tags"]["copy"] == "new"
        assert float(np.dot(stored["embedding"], old)) < 0.9
        assert name not in {match["id"] for match in api.search_vector(old, limit=1000, threshold=0.9)}
    assert sum(each["documents"] for each in shards_of_url(api)) == 4 * 32


def shards_of_url(api: Api) -> list[dict]:
    status = requests.get(f"{api.url}/status", timeout=30).json()
    return [each for each in status["index"]["collections"] if each["name"] == api.collection]


def shards_of(flow: RunningFlow, collection: str) -> list[dict]:
    status = requests.get(f"{flow.http_url}/status", timeout=30).json()
    return [each for each in status["index"]["collections"] if each["name"] == collection]


def test_concurrent_writers_of_one_id_leave_one_copy(api: Api) -> None:
    vectors = unit_vectors(24, seed=10)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda vector: api.post("/index", [{"id": "hot", "embedding": vector.tolist()}]), vectors))
    found = api.search_vector(vectors[0], limit=100)
    assert [match["id"] for match in found] == ["hot"]
    assert max(float(np.dot(vectors[0], vector)) for vector in vectors) >= found[0]["score"] - 1e-6


def test_verify_finds_and_repairs_what_a_crash_left_in_two_shards(flows: dict[int, RunningFlow]) -> None:
    """A crash between storing and superseding leaves two copies, never none: a search shows one, verify removes the older."""
    flow = flows[3]
    api = Api(flow.http_url)
    vector = unit_vectors(1, seed=13)[0]
    api.index_vectors({"seed": -vector})
    known = api.ok("/get", [{"id": "seed"}])[0]
    for number, suffix in enumerate("abc"):
        document = ImageDoc(
            id="double",
            collection=api.collection,
            embedding=vector,
            tags={"copy": suffix},
            model_id=known["model_id"],
            version=known["version"] + suffix,
        )
        post_to_shards(flow, "/index", document, only=number)
    assert [(match["id"], match["tags"]) for match in api.search_vector(vector)] == [
        ("double", {"copy": "c"}),
        ("seed", {}),
    ]
    found = requests.post(f"{flow.http_url}/verify", json={}, timeout=60).json()
    assert (found["ok"], found["double_ids"], found["repaired"]) == (False, ["double"], 0)
    repaired = requests.post(f"{flow.http_url}/verify", json={"parameters": {"repair": True}}, timeout=60).json()
    assert (repaired["ok"], repaired["repaired"]) == (True, 1)
    assert requests.post(f"{flow.http_url}/verify", json={}, timeout=60).json()["ok"] is True
    assert api.ok("/get", [{"id": "double"}])[0]["tags"] == {"copy": "c"}
    assert sum(each["documents"] for each in shards_of(flow, api.collection)) == 2
