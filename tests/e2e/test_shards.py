"""The promises of a sharded index, at one, two and three shards: one copy, the right answers, nothing hidden."""

import numpy as np
import pytest
from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from executors.index.merge import unpack
from tests.support.api import Api, unit_vectors
from tests.support.flow import RunningFlow


@pytest.fixture(params=[1, 2, 3], ids=["1 shard", "2 shards", "3 shards"])
def sharded(request: pytest.FixtureRequest, flows: dict[int, RunningFlow]) -> RunningFlow:
    return flows[request.param]


@pytest.fixture
def api(sharded: RunningFlow) -> Api:
    return Api(sharded.http_url)


def index_port(flow: RunningFlow) -> int:
    """The port of the index's head (or of its only shard), to which a late retry of Jina's would go."""
    name = "index/head" if "index/head" in flow.log else "index/rep-0"
    line = next(
        each for each in flow.log.splitlines() if each.strip().startswith(f"{name}@") and "start server" in each
    )
    return int(line.rsplit(":", 1)[1])


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
    for shards in (1, 2, 3):
        api = Api(flows[shards].http_url)
        for start in range(0, 90, 10):
            api.index_vectors({f"{n:03}": vectors[n] for n in range(start, start + 10)})
        answers.append([api.search_vector(query, limit=33, offset=2) for query in [*queries, vectors[0]]])
    assert answers[0] == answers[1] == answers[2]


def test_a_late_retry_neither_revives_nor_doubles(sharded: RunningFlow, api: Api) -> None:
    """Jina may execute a write again long after it was answered, and on another shard: the version decides."""
    vector = unit_vectors(1, seed=7)[0]
    first = api.index_vectors({"late": vector})[0]["version"]
    model_id = api.ok("/get", [{"id": "late"}])[0]["model_id"]
    head = Client(port=index_port(sharded), protocol="grpc")

    def repeat(version: str) -> ImageDoc:
        document = ImageDoc(id="late", collection=api.collection, embedding=vector, model_id=model_id, version=version)
        return head.post("/index", DocList[ImageDoc]([document]), return_type=DocList[ImageDoc])[0]

    api.index_vectors({"late": -vector})
    for _ in range(6):
        assert repeat(first).error is not None
    copies = [match["score"] for match in api.search_vector(vector, limit=10)]
    assert copies == [pytest.approx(-1, abs=1e-6)]

    assert api.ok("/delete", {"id": "late"})[0]["result"] == "deleted"
    for _ in range(6):
        answer = repeat(first)
        assert answer.error is not None
        assert answer.error.code == "stale_version"
    assert api.search_vector(vector, limit=10) == []


def test_a_write_executed_twice_leaves_one_copy(sharded: RunningFlow, api: Api) -> None:
    vector = unit_vectors(1, seed=9)[0]
    api.index_vectors({"seed": vector})
    known = api.ok("/get", [{"id": "seed"}])[0]
    head = Client(port=index_port(sharded), protocol="grpc")
    version = known["version"][:-1] + ("z" if known["version"][-1] != "z" else "y")
    document = ImageDoc(
        id="twice", collection=api.collection, embedding=vector, model_id=known["model_id"], version=version
    )
    answers = [head.post("/index", DocList[ImageDoc]([document]), return_type=DocList[ImageDoc])[0] for _ in range(3)]
    owner = answers[-1]
    assert owner.result == "created"
    columns = {
        "collections": [api.collection],
        "ids": ["twice"],
        "versions": [version],
        "digests": [unpack(owner)["digest"]],
        "owners": [unpack(owner)["shard"][1]],
    }
    import orjson

    head.post("/supersede", DocList[ImageDoc]([ImageDoc(id="r", hits=orjson.dumps(columns))]))
    again = api.search_vector(vector, limit=10)
    assert sorted(match["id"] for match in again) == ["seed", "twice"]
    repeated = head.post("/index", DocList[ImageDoc]([document]), return_type=DocList[ImageDoc])[0]
    assert repeated.error is not None or repeated.result == "created"
    assert sorted(match["id"] for match in api.search_vector(vector, limit=10)) == ["seed", "twice"]


def test_concurrent_writers_of_one_id_leave_one_copy(api: Api) -> None:
    from concurrent.futures import ThreadPoolExecutor

    vectors = unit_vectors(24, seed=10)
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda vector: api.post("/index", [{"id": "hot", "embedding": vector.tolist()}]), vectors))
    found = api.search_vector(vectors[0], limit=100)
    assert [match["id"] for match in found] == ["hot"]
    assert max(float(np.dot(vectors[0], vector)) for vector in vectors) >= found[0]["score"] - 1e-6
