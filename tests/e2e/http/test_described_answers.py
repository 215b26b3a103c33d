"""Every endpoint answers as the description says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from jsonschema import Draft202012Validator

from executors.gateway.endpoints import ENDPOINTS, Endpoint
from tests.support.flows.local_gateway import LocalGateway, local_gateway

X, Y = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]
STORED = {
    "embedding": X,
    "tags": {"shape": "square"},
    "uri": "a.jpg",
    "box": [0, 0, 1, 1],
    "parent": "page",
    "text": "read",
    "thumbnail": "/9j/4AAQ",
}
# Beside the examples of the description.
BODIES: dict[str, list[dict[str, Any]]] = {
    "/index": [{"data": [{"id": "a", **STORED}, {"id": "b", "embedding": Y}, {"id": ""}]}, {"data": [{"id": ""}]}, {}],
    "/search": [
        {"data": [{"embedding": X}], "parameters": {"explain": True}},
        {"data": [{"embedding": X}], "parameters": {"fields": ["tags.shape", "box"], "with": ["embedding"]}},
        {"data": [{"embedding": X}], "parameters": {"group_by": "shape"}},
        {"parameters": {"like": "a", "exclude_self": True}},
        {"parameters": {"like": "nothing"}},
        {"data": [{"embedding": Y}], "parameters": {"terms": [{"like": "a", "weight": -1}, {"data": 0}]}},
        {"data": [{"embedding": X}, {"embedding": Y}], "parameters": {"weights": [1, -1], "score_max": 0.5}},
        {"data": [{"embedding": X}, {"embedding": X}], "parameters": {"weights": [1, -1]}},
        {"parameters": {"terms": [{"like": "a"}, {"like": "nothing"}]}},
        {"data": [{"embedding": X}], "parameters": {"filter": {"$what": 1}}},
    ],
    "/update": [{"data": [{"id": "a", "tags": {"n": 1}}, {"id": "nothing", "tags": {}}]}],
    "/get": [{"data": [{"id": "a"}, {"id": "nothing"}], "parameters": {"with": ["embedding", "thumbnail"]}}],
    "/embed": [{"data": [{"embedding": X}, {"embedding": []}]}],
    "/scroll": [
        {"parameters": {"limit": 1}},
        {"parameters": {"with": ["embedding", "thumbnail"]}},
        {"parameters": {"collection": "nothing"}},
    ],
    "/count": [{}],
    "/facets": [
        {"parameters": {"paths": ["shape", "nothing"], "limit": 1}},
        {"parameters": {"paths": []}},
        {"parameters": {"paths": ["a"], "collection": "nothing"}},
    ],
    "/delete": [{"data": [{"id": "b"}, {"id": "b2"}]}, {"parameters": {"filter": {"n": 1}}}],
    "/quality": [
        {},
        {"parameters": {"collection": "images", "sample": 3, "k": 2, "ef": 5}},
        {"parameters": {"collection": "nothing"}},
        {"parameters": {"sample": 1001}},
    ],
    "/verify": [{}, {"parameters": {"repair": True}}],
    "/reindex": [{}, {"parameters": {"collection": "nothing"}}],
}
PATHS = {
    "/collections/list": [("GET", "/collections")],
    "/collections/describe": [("GET", "/collections/images"), ("GET", "/collections/nothing")],
    "/collections/create": [("PUT", "/collections/new"), ("PUT", "/collections/new")],
    "/collections/drop": [("DELETE", "/collections/new"), ("DELETE", "/collections/new")],
    "/status": [("GET", "/status")],
}


@dataclass(frozen=True, slots=True)
class Described:
    """A gateway that holds documents, and what its description says."""

    http: aiohttp.ClientSession
    document: dict[str, Any]

    async def check(self, method: str, path: str, described: str, body: dict[str, Any] | None = None) -> int:
        """Ask, and hold the answer against its schema; the status."""
        async with self.http.request(method, path, json=body) as answer:
            content, status, headers = await answer.json(), answer.status, answer.headers
        response = self.document["paths"][described][method.lower()]["responses"][str(status)]
        for name, header in response["headers"].items():
            Draft202012Validator(header["schema"]).validate(headers.get(name))
        whole = response["content"]["application/json"]["schema"] | {"components": self.document["components"]}
        faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(content)]
        assert not faults, f"{method} {path} {body}: {status} {content}: {faults}"
        return int(status)


@pytest.fixture(params=[1, 2], ids=["1 shard", "2 shards"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[LocalGateway]:
    async with local_gateway(request.param) as running:
        yield running


@pytest.fixture
async def described(gateway: LocalGateway) -> AsyncIterator[Described]:
    async with aiohttp.ClientSession(gateway.url) as http:
        async with http.get("/openapi.json") as answer:
            document = await answer.json()
        for body in BODIES["/index"]:
            await http.post("/index", json=body)
        yield Described(http, document)


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.resource is None], ids=lambda each: each.path)
async def test_an_answer_is_what_its_description_says(described: Described, endpoint: Endpoint) -> None:
    assert endpoint.answer is not None
    for body in [*BODIES[endpoint.path], *(each.body for each in endpoint.examples)]:
        await described.check("POST", endpoint.path, endpoint.path, body)


@pytest.mark.parametrize("path", PATHS)
async def test_an_answer_about_a_resource_is_what_its_description_says(described: Described, path: str) -> None:
    endpoint = next(each for each in ENDPOINTS if each.path == path)
    assert endpoint.resource is not None
    for method, asked in PATHS[path]:
        await described.check(method, asked, endpoint.resource.path)


async def test_health_is_what_its_description_says(gateway: LocalGateway, described: Described) -> None:
    for path in ("/health/live", "/health/ready", "/health/full"):
        assert await described.check("GET", path, path) == 200
    gateway.call.stages.missing = {0}
    gateway.call.service.gate.draining = True
    for path in ("/health/ready", "/health/full", "/status"):
        await described.check("GET", path, path)


async def test_every_operation_takes_a_request_id_and_answers_with_one(described: Described) -> None:
    for operations in described.document["paths"].values():
        for operation in operations.values():
            assert ("header", "X-Request-Id") in {(each["in"], each["name"]) for each in operation["parameters"]}
            assert all("X-Request-Id" in response["headers"] for response in operation["responses"].values())


def test_every_endpoint_is_held_against_its_description() -> None:
    without_json = {"/thumbnail", "/metrics", "/watch"}
    assert {each.path for each in ENDPOINTS} == set(BODIES) | set(PATHS) | without_json
