"""The options of a search and a count, against real flows: any number of shards gives the same answer."""

from typing import Any

import numpy as np
import pytest
import requests

from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow

VECTORS = unit_vectors(60, seed=21)
TAGS: list[dict[str, Any]] = [
    {
        "n": n,
        "big": 2**53 - n,
        "brand": "abcde"[n % 5],
        "price": n / 4,
        "sizes": [n % 3, n % 7],
        "nested": {"deep": {"x": n % 2 == 0}},
        **({"maybe": None} if n % 4 == 0 else {"maybe": str(n)} if n % 4 == 1 else {}),
    }
    for n in range(60)
]
CASES: list[tuple[dict[str, Any], Any]] = [
    ({"brand": "b"}, lambda t: t["brand"] == "b"),
    ({"n": {"$gte": 10, "$lt": 20.0}}, lambda t: 10 <= t["n"] < 20),
    ({"big": 2**53 - 7}, lambda t: t["n"] == 7),
    ({"big": {"$gt": 2**53 - 2}}, lambda t: t["n"] < 2),
    ({"sizes": 2}, lambda t: 2 in t["sizes"]),
    ({"sizes": {"$nin": [0, 2]}}, lambda t: not {0, 2} & set(t["sizes"])),
    ({"nested.deep.x": True}, lambda t: t["nested"]["deep"]["x"]),
    ({"maybe": None}, lambda t: "maybe" in t and t["maybe"] is None),
    ({"maybe": {"$exists": False}}, lambda t: "maybe" not in t),
    ({"maybe": {"$ne": None}}, lambda t: t.get("maybe", 0) is not None),
    ({"n": "7"}, lambda t: False),
    (
        {"$or": [{"n": 3}, {"$and": [{"brand": "c"}, {"price": {"$lte": 2}}]}]},
        lambda t: t["n"] == 3 or (t["brand"] == "c" and t["price"] <= 2),
    ),
    ({"$not": {"brand": {"$in": ["a", "b", "c"]}}}, lambda t: t["brand"] in "de"),
    ({}, lambda t: True),
]


@pytest.fixture(scope="module")
def apis(flows: dict[int, RunningFlow]) -> dict[int, Api]:
    """The same documents at one, two and three shards."""
    made = {}
    for shards in (1, 2, 3):
        api = made[shards] = Api(flows[shards].http_url, "test-filters")
        for start in range(0, 60, 6):
            data = [
                {
                    "id": f"{n:02}",
                    "embedding": VECTORS[n].tolist(),
                    "tags": TAGS[n],
                    "uri": f"{n}.jpg",
                    **({"parent": f"p{n // 10}", "box": [n, 0, 1, 1]} if n >= 30 else {}),
                }
                for n in range(start, start + 6)
            ]
            api.ok("/index", data)
    return made


@pytest.mark.parametrize(("where", "holds"), CASES, ids=[str(where) for where, _ in CASES])
def test_a_filter_gives_the_best_of_those_that_match(apis: dict[int, Api], where: dict[str, Any], holds: Any) -> None:
    scores = VECTORS.astype(np.float64) @ VECTORS[0]
    expected = sorted((n for n in range(60) if holds(TAGS[n])), key=lambda n: -scores[n])
    for api in apis.values():
        found = api.search_vector(VECTORS[0], filter=where, limit=100)
        assert [int(match["id"]) for match in found] == expected
        assert [match["tags"] for match in found] == [TAGS[n] for n in expected]
        assert api.told("/count", filter=where)["count"] == len(expected)
        assert [int(each["id"]) for each in api.scroll(filter=where)] == sorted(expected)
        for more in ({"exact": True}, {"ef": 200}):
            assert api.search_vector(VECTORS[0], filter=where, limit=100, **more) == found
        assert api.search_vector(VECTORS[0], filter=where, limit=3, offset=2) == found[2:5]


@pytest.mark.parametrize("group_by", ["brand", "parent", "nested.deep.x", "sizes", "maybe"])
def test_groups_are_the_best_of_each_whatever_the_shards(apis: dict[int, Api], group_by: str) -> None:
    answers = [api.search_vector(VECTORS[1], group_by=group_by, limit=100) for api in apis.values()]
    assert answers[0] == answers[1] == answers[2]
    single = {match["id"]: match for match in apis[1].search_vector(VECTORS[1], limit=100)}
    groups = [str(match["group"]) for match in answers[0]]
    assert len(set(groups)) == len(groups) > 1
    assert [match["score"] for match in answers[0]] == sorted((match["score"] for match in answers[0]), reverse=True)
    for match in answers[0]:
        group = match.pop("group")
        assert match == single[match["id"]]
        if group_by == "parent":
            assert group == (match["parent"] or match["id"])
    for api in apis.values():
        page = api.search_vector(VECTORS[1], group_by=group_by, limit=2, offset=1)
        assert [str(match["group"]) for match in page] == groups[1:3]


def test_few_groups_among_many_documents_are_all_found(apis: dict[int, Api]) -> None:
    for api in apis.values():
        found = api.search_vector(VECTORS[2], group_by="nested.deep.x", limit=10)
        assert sorted(match["group"] for match in found) == [False, True]


def test_only_what_is_wanted_comes_back(apis: dict[int, Api]) -> None:
    for api in apis.values():
        match = api.search_vector(VECTORS[40], limit=1, fields=["tags.nested.deep", "box"], **{"with": ["embedding"]})[
            0
        ]
        np.testing.assert_array_equal(np.asarray(match.pop("embedding"), np.float32), VECTORS[40])
        assert match == {
            "id": "40",
            "score": pytest.approx(1),
            "tags": {"nested": {"deep": {"x": True}}},
            "box": [40, 0, 1, 1],
        }
        assert set(api.search_vector(VECTORS[0], limit=1, fields=[])[0]) == {"id", "score"}


def test_like_takes_filters_too(apis: dict[int, Api]) -> None:
    for api in apis.values():
        found = api.ok("/search", None, like="05", filter={"brand": "b"}, limit=2)[0]["matches"]
        expected = api.search_vector(VECTORS[5], filter={"brand": "b"}, limit=2)
        assert found == expected


def test_explain_tells_the_plan_of_every_shard(apis: dict[int, Api]) -> None:
    for shards, api in apis.items():
        queries = [{"embedding": vector.tolist()} for vector in VECTORS[:2]]
        explained = api.told("/search", queries, explain=True, filter={"brand": "a"})["explain"]
        assert [[plan["shard"] for plan in each["shards"]] for each in explained] == [list(range(shards))] * 2
        assert all(set(plan) > {"shard"} for each in explained for plan in each["shards"])


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"filter": {"n": {"$near": 1}}}, "invalid_filter"),
        ({"filter": {"n": [1]}}, "invalid_filter"),
        ({"filter": {"$and": []}}, "invalid_filter"),
        ({"filter": "n = 1"}, "invalid_filter"),
        ({"filter": {"n": 2**53 + 1}}, "invalid_filter"),
        ({"group_by": ""}, "invalid_parameter"),
        ({"group_by": 1}, "invalid_parameter"),
        ({"fields": ["blob"]}, "invalid_parameter"),
        ({"fields": "tags"}, "invalid_parameter"),
        ({"fields": ["tags."]}, "invalid_parameter"),
        ({"with": ["thumbnail"]}, "invalid_parameter"),
        ({"exact": "yes"}, "invalid_parameter"),
        ({"ef": 0}, "invalid_parameter"),
        ({"ef": 10_001}, "invalid_parameter"),
        ({"explain": 1}, "invalid_parameter"),
    ],
    ids=str,
)
def test_what_can_not_be_asked_for_is_refused_with_the_place(
    apis: dict[int, Api], parameters: dict[str, Any], code: str
) -> None:
    query = [{"embedding": VECTORS[0].tolist()}]
    api = apis[2]
    assert api.refused("/search", query, **parameters) == (400, code)
    if code == "invalid_filter":
        error = api.post("/search", query, **parameters).json()["error"]
        assert error["details"]["path"].startswith("filter")
        assert error["message"].startswith(error["details"]["path"])
        for endpoint in ("/scroll", "/count", "/delete"):
            assert api.refused(endpoint, **parameters) == (400, code)


def test_a_filter_in_a_form(apis: dict[int, Api], one_picture: bytes) -> None:
    api = apis[2]
    parameters = f'{{"collection": "{api.collection}", "filter": {{"n": {{"$in": [1, 2]}}}}}}'
    answer = requests.post(
        f"{api.url}/search", files={"file": ("q.jpg", one_picture)}, data={"parameters": parameters}, timeout=30
    ).json()
    assert {match["id"] for match in answer["data"][0]["matches"]} == {"01", "02"}
