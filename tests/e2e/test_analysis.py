"""Facets, the quality of searches and the watching of rebuilds, against real flows of any number of shards."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import requests
from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from tests.support.flows.api import Api, unit_vectors
from tests.support.flows.flow import RunningFlow

_COUNT = 40
_TAGS: list[dict[str, Any]] = [
    {"brand": "abc"[n % 3], "sizes": [n % 4, n % 4 + 0.0, "l"], "at": {"shop": n % 2 == 0}, "n": n}
    for n in range(_COUNT)
]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return unit_vectors(_COUNT, seed=77)


@pytest.fixture
def api(sharded: RunningFlow, vectors: np.ndarray) -> Api:
    made = Api(sharded.http_url)
    for start in range(0, _COUNT, 5):
        made.ok(
            "/index",
            [
                {"id": f"{n}", "embedding": vectors[n].tolist(), "tags": _TAGS[n]}
                for n in range(start, min(_COUNT, start + 5))
            ],
        )
    return made


def values(facet: dict[str, Any]) -> dict[Any, int]:
    return {each["value"]: each["count"] for each in facet["values"]}


def test_facets_are_those_of_all_shards(api: Api, sharded: RunningFlow) -> None:
    told = api.told(
        "/facets", paths=["brand", "sizes", "at.shop", "n", "nothing"], filter={"brand": "a", "n": {"$lt": 30}}
    )
    brand, sizes, shop, numbers, nothing = told["facets"]
    below = _TAGS[:30]
    assert told["count"] == sum(each["brand"] == "a" for each in below)
    assert values(brand) == Counter(each["brand"] for each in below)
    matching = [each for each in below if each["brand"] == "a"]
    assert values(sizes) == Counter(each["sizes"][0] for each in matching) | {"l": len(matching)}
    assert values(shop) == Counter(each["at"]["shop"] for each in matching)
    assert (len(numbers["values"]), numbers["more"]) == (10, sum(each["brand"] == "a" for each in _TAGS) - 10)
    assert [each["value"] for each in numbers["values"]] == [each["n"] for each in _TAGS if each["brand"] == "a"][:10]
    assert (nothing["values"], nothing["more"]) == ([], 0)
    # The same over gRPC.
    parameters = {"collection": api.collection, "paths": ["brand"], "filter": {"brand": "a", "n": {"$lt": 30}}}
    client = Client(host=sharded.grpc_url)
    (answer,) = client.post("/facets", parameters=parameters, return_type=DocList[ImageDoc], return_responses=True)
    assert values(answer.parameters["facets"][0]) == values(brand)
    # And after a change.
    api.ok("/delete", [{"id": "0"}])
    api.ok("/update", [{"id": "1", "tags": {"brand": "new"}}])
    (after,) = api.told("/facets", paths=["brand"])["facets"]
    assert values(after) == Counter(each["brand"] for each in [*_TAGS[2:], {"brand": "new"}])
    assert api.refused("/facets", paths=["brand"], collection="nothing")[1] == "collection_not_found"


def test_the_quality_of_small_collections_is_perfect(api: Api, sharded: RunningFlow) -> None:
    answer = api.post("/quality", sample=12, k=5)
    assert answer.status_code == 200, answer.text
    (report,) = answer.json()["collections"]
    assert (report["collection"], report["documents"], report["queries"], report["walked"]) == (
        api.collection,
        40,
        12,
        0,
    )
    assert report["precision"] == {"mean": 1.0, "lowest": 1.0, "all_found": 1.0}
    assert min(report["took_ms"].values()) > 0
    client = Client(host=sharded.grpc_url)
    parameters = {"collection": api.collection, "sample": 2, "k": 5}
    (told,) = client.post("/quality", parameters=parameters, return_type=DocList[ImageDoc], return_responses=True)
    assert told.parameters["collections"][0]["queries"] == 2


def test_the_state_is_told_to_those_who_watch(api: Api) -> None:
    with requests.get(f"{api.url}/watch", stream=True, timeout=30) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        told: dict[str, Any] = {}
        name = ""
        for line in answer.iter_lines(decode_unicode=True):
            name = line.removeprefix("event: ") if line.startswith("event: ") else name
            if line.startswith("data: "):
                told[name] = json.loads(line.removeprefix("data: "))
            if set(told) == {"health", "rebuilds", "jobs"}:
                break
    assert told["health"]["ready"]
    assert told["rebuilds"]["running"] == []
