"""Keys over HTTP: which are known, what each role and each collection allows, and thumbnails by signed addresses."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from multidict import CIMultiDict

from executors.gateway.endpoints import ENDPOINTS, Endpoint
from executors.gateway.metrics.scrape import scrape
from executors.gateway.operations.request import Request
from executors.gateway.parameters import NoParameters
from executors.keys.key import Key, Role, digest_of
from executors.keys.key_file import add_key
from executors.keys.limits import Limits
from tests.support.flows.local_gateway import LocalGateway, local_gateway

X = [1.0, 0.0, 0.0, 0.0]
JPEG = b"\xff\xd8\xff thumbnail"
ROLES: tuple[Role, ...] = ("search", "write", "admin")


@pytest_asyncio.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[LocalGateway]:
    """A gateway with a key for each role, named like it, and one that may use the collection `open` only."""
    file = tmp_path / "keys.toml"
    for role in ROLES:
        add_key(file, Key(role, digest_of(f"secret of {role}"), role))
    for role in ("write", "admin"):
        add_key(file, Key(f"open-{role}", digest_of(f"secret of open-{role}"), role, frozenset({"open"})))
    async with local_gateway(2, keys_file=file) as running:
        for collection in ("open", "images"):
            await running.call.index("a/b", collection=collection, thumbnail=JPEG)
        yield running


def secret_of(name: str | None) -> dict[str, str]:
    return {} if name is None else {"x-api-key": f"secret of {name}"}


async def ask(
    gateway: LocalGateway, method: str, path: str, key: str | None = None, body: Any = None, **headers: str
) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, gateway.url + path, json=body, headers=secret_of(key) | headers) as answer,
    ):
        if answer.content_type == "text/event-stream":  # it never ends
            return answer.status, None
        content = await answer.read()
        return answer.status, await answer.json() if answer.content_type == "application/json" else content


async def refusal(
    gateway: LocalGateway, method: str, path: str, key: str | None = None, body: Any = None, **headers: str
) -> tuple[int, str]:
    status, answer = await ask(gateway, method, path, key, body, **headers)
    error = answer.get("error") or answer["data"][0]["error"]
    return status, error["code"]


def route_of(endpoint: Endpoint) -> tuple[str, str]:
    if endpoint.resource is None:
        return "POST", endpoint.path
    return endpoint.resource.method, endpoint.resource.path.replace("{name}", "images")


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda each: each.path)
async def test_every_endpoint_asks_for_a_key_of_its_role(gateway: LocalGateway, endpoint: Endpoint) -> None:
    method, path = route_of(endpoint)
    body: Any = None if method == "GET" else {}
    path += "?id=a" if path == "/thumbnail" else ""
    assert await refusal(gateway, method, path, None, body) == (401, "unauthenticated")
    assert await refusal(gateway, method, path, "nothing", body) == (401, "unauthenticated")
    for role in ROLES:
        status, answer = await ask(gateway, method, path, role, body)
        lacking = ROLES.index(role) < ROLES.index(endpoint.role)
        assert (status == 403) == lacking, (role, answer)
        if lacking:
            assert (answer["error"]["code"], answer["error"]["details"]) == ("forbidden", {"role": endpoint.role})


async def test_a_key_may_come_as_a_bearer_but_not_beside_another_one(gateway: LocalGateway) -> None:
    bearer = {"Authorization": "Bearer secret of search"}
    assert (await ask(gateway, "POST", "/count", None, {}, **bearer))[0] == 200
    assert (await ask(gateway, "POST", "/count", "search", {}, **bearer))[0] == 200
    assert await refusal(gateway, "POST", "/count", "write", {}, **bearer) == (401, "unauthenticated")
    basic = {"Authorization": "Basic c2VjcmV0IG9mIHNlYXJjaA=="}
    assert await refusal(gateway, "POST", "/count", None, {}, **basic) == (401, "unauthenticated")


async def test_a_key_that_is_sent_twice_counts_only_if_both_are_the_same(gateway: LocalGateway) -> None:
    async with aiohttp.ClientSession() as session:
        for second, status in (("admin", 200), ("search", 401)):
            headers = [("x-api-key", "secret of admin"), ("x-api-key", f"secret of {second}")]
            async with session.post(f"{gateway.url}/verify", json={}, headers=CIMultiDict(headers)) as answer:
                assert answer.status == status


async def test_a_refusal_says_how_to_authenticate(gateway: LocalGateway) -> None:
    async with aiohttp.ClientSession() as session, session.get(gateway.url + "/status") as answer:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_health_and_the_description_need_no_key(gateway: LocalGateway) -> None:
    assert (await ask(gateway, "GET", "/health/live"))[0] == 200
    assert (await ask(gateway, "GET", "/health/ready"))[0] == 200
    status, described = await ask(gateway, "GET", "/openapi.json")
    assert status == 200
    assert described["security"] == [{"key": []}, {"bearer": []}]
    assert described["paths"]["/health/live"]["get"]["security"] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/search", {"data": [{"embedding": X}]}),
        ("POST", "/search", {"data": [{"embedding": X}], "parameters": {"collection": "images"}}),
        ("POST", "/search", {"data": [{"embedding": X}], "parameters": {"collection": "nothing"}}),
        ("POST", "/search", {"parameters": {"like": "a/b"}}),
        ("POST", "/index", {"data": [{"id": "n", "embedding": X}]}),
        ("POST", "/index", {"data": [{"id": "n", "embedding": X, "collection": "images"}]}),
        ("POST", "/update", {"data": [{"id": "a/b", "tags": {}}]}),
        ("POST", "/delete", {"data": [{"id": "a/b"}]}),
        ("POST", "/delete", {"parameters": {"filter": {"n": 1}}}),
        ("POST", "/get", {"data": [{"id": "a/b"}]}),
        ("POST", "/get", {"data": [{"id": "a/b", "collection": "images"}], "parameters": {"collection": "open"}}),
        ("POST", "/scroll", {}),
        ("POST", "/count", {"parameters": {"collection": "nothing"}}),
        ("POST", "/verify", {}),
        ("POST", "/reindex", {}),
        ("POST", "/quality", {}),
        ("POST", "/facets", {"parameters": {"paths": ["a"]}}),
        ("POST", "/search", {"parameters": {"terms": [{"like": "a/b"}]}}),
        ("GET", "/metrics", None),
        ("GET", "/watch", None),
        ("GET", "/thumbnail?id=a/b", None),
        ("GET", "/thumbnail/images/a", None),
        ("GET", "/collections/images", None),
        ("GET", "/collections/nothing", None),
        ("PUT", "/collections/new", {}),
        ("DELETE", "/collections/images", {}),
    ],
)
async def test_a_key_of_one_collection_reaches_no_other(
    gateway: LocalGateway, method: str, path: str, body: Any
) -> None:
    assert await refusal(gateway, method, path, "open-admin", body) == (403, "forbidden")
    assert (await ask(gateway, "GET", "/collections/images", "admin"))[1]["collection"]["documents"] == 1


async def test_a_key_of_one_collection_may_use_that_one(gateway: LocalGateway) -> None:
    at = {"parameters": {"collection": "open"}}
    assert (await ask(gateway, "POST", "/index", "open-write", {"data": [{"id": "n", "embedding": X}], **at}))[0] == 200
    status, answer = await ask(gateway, "POST", "/search", "open-write", {"data": [{"embedding": X}], **at})
    assert (status, len(answer["data"][0]["matches"])) == (200, 2)
    assert (await ask(gateway, "POST", "/embed", "open-write", {"data": [{"embedding": X}]}))[0] == 200
    _, listed = await ask(gateway, "GET", "/collections", "open-write")
    assert [each["name"] for each in listed["collections"]] == ["open"]


async def test_a_forbidden_document_costs_its_neighbours_nothing(gateway: LocalGateway) -> None:
    data = [{"id": "n", "embedding": X, "collection": each} for each in ("open", "images")]
    status, answer = await ask(gateway, "POST", "/index", "open-write", {"data": data})
    assert status == 200
    assert [(each["error"] or {}).get("code") for each in answer["data"]] == [None, "forbidden"]


async def test_the_status_shows_what_the_key_may_see(gateway: LocalGateway) -> None:
    _, limited = await ask(gateway, "GET", "/status", "open-admin")
    assert "images" not in str(limited["index"])
    assert limited["index"]["documents"] == 1
    assert limited["access"] == {"required": True, "problem": None}
    _, whole = await ask(gateway, "GET", "/status", "admin")
    used = {each["name"]: each["last_used"] for each in whole["access"]["keys"]}
    assert set(used) == {*ROLES, "open-write", "open-admin"}
    assert used["admin"] is not None
    assert used["search"] is None
    _, searcher = await ask(gateway, "GET", "/status", "search")
    assert "keys" not in searcher["access"]


async def test_thumbnails_in_answers_need_no_key_until_they_expire(gateway: LocalGateway) -> None:
    body = {"data": [{"embedding": X}]}
    _, found = await ask(gateway, "POST", "/search", "search", body)
    _, read = await ask(gateway, "POST", "/get", "search", {"data": [{"id": "a/b"}]})
    for url in (found["data"][0]["matches"][0]["thumbnail_url"], read["data"][0]["thumbnail_url"]):
        assert await ask(gateway, "GET", url) == (200, JPEG)
        for wrong in (
            url.replace("expires=1", "expires=2"),
            url.replace("collection=images", "collection=open"),
            url.replace("id=a", "id=b"),
            url[:-1] + ("A" if url[-1] != "A" else "B"),
            url.partition("&signature")[0],
        ):
            assert await refusal(gateway, "GET", wrong) == (401, "unauthenticated")


async def test_an_address_that_has_expired_is_refused(tmp_path: Path) -> None:
    add_key(tmp_path / "keys.toml", Key("search", digest_of("secret of search"), "search"))
    async with local_gateway(1, keys_file=tmp_path / "keys.toml") as gateway:
        await gateway.call.index("a", collection="images", thumbnail=JPEG)
        access = gateway.call.service.access
        access._clock = lambda: 1_000.0
        _, found = await ask(gateway, "POST", "/search", "search", {"data": [{"embedding": X}]})
        url = found["data"][0]["matches"][0]["thumbnail_url"]
        assert await ask(gateway, "GET", url) == (200, JPEG)
        access._clock = lambda: 1_601.0
        status, answer = await ask(gateway, "GET", url)
        assert status == 401
        assert "expired" in answer["error"]["message"]


def audited(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "executors.gateway.audit"]


async def test_writes_and_refusals_are_in_the_audit_without_the_key(
    gateway: LocalGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "executors.gateway.audit")
    await ask(gateway, "POST", "/index", "write", {"data": [{"id": "n", "embedding": X}]})
    await ask(gateway, "POST", "/index", "search", {"data": [{"id": "n", "embedding": X}]})
    await ask(gateway, "POST", "/index", "unknown", {"data": [{"id": "n", "embedding": X}]})
    await ask(gateway, "POST", "/count", "open-write", {})
    lines = audited(caplog)
    assert len(lines) == 4
    assert lines[0] == "key write: /index in images, 1 documents, 0 failed"
    assert "refused /index from 127.0.0.1 with key search" in lines[1]
    assert "refused /index from 127.0.0.1 with no known key" in lines[2]
    assert "refused /count with key open-write" in lines[3]
    assert not any("secret" in line for line in lines)


async def test_the_audit_names_all_collections_and_writes_that_ended_early(
    gateway: LocalGateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "executors.gateway.audit")
    data = [{"id": "n", "embedding": X, "collection": each} for each in ("open", "images")]
    await ask(gateway, "POST", "/index", "write", {"data": data})
    gateway.call.stages.missing = {1}
    status, _ = await ask(gateway, "POST", "/delete", "write", {"parameters": {"filter": {"n": 1}}})
    assert status == 503
    assert audited(caplog) == [
        "key write: /index in images, open, 2 documents, 0 failed",
        "key write: /delete in images, 0 documents, ended by shard_missing",
    ]


async def test_a_refusal_for_all_collections_names_a_way_out_only_where_there_is_one(gateway: LocalGateway) -> None:
    _, answer = await ask(gateway, "POST", "/reindex", "open-admin", {})
    assert "name one of its collections" in answer["error"]["message"]
    for method, path in (("POST", "/verify"), ("GET", "/watch"), ("GET", "/metrics")):
        _, answer = await ask(gateway, method, path, "open-admin", {} if method == "POST" else None)
        assert "this concerns all of them" in answer["error"]["message"]


async def test_without_a_file_no_key_is_asked_for() -> None:
    async with local_gateway(1) as gateway:
        assert (await ask(gateway, "POST", "/count", None, {}))[0] == 200
        assert (await ask(gateway, "GET", "/status"))[1]["access"] == {"required": False}
        _, described = await ask(gateway, "GET", "/openapi.json")
        assert described["security"][0] == {}


async def test_a_key_over_its_limit_is_refused_and_the_others_are_not(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, Key("slow", digest_of("secret of slow"), "write", limits=Limits(requests_per_second=0.01)))
    add_key(file, Key("small", digest_of("secret of small"), "write", limits=Limits(documents_in_flight=1)))
    async with local_gateway(1, keys_file=file) as gateway:
        assert (await ask(gateway, "POST", "/count", "slow", {}))[0] == 200
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/count", json={}, headers=secret_of("slow")) as answer,
        ):
            assert answer.status == 429
            assert (await answer.json())["error"]["code"] == "over_limit"
            assert 90 <= int(answer.headers["Retry-After"]) <= 100
        assert (await ask(gateway, "POST", "/count", "small", {}))[0] == 200
        data = [{"id": str(number), "embedding": X} for number in range(5)]
        assert (await ask(gateway, "POST", "/index", "small", {"data": data}))[0] == 200
        text = (await scrape(gateway.call.service, Request([], NoParameters()))).extra["text"]
        assert 'visual_search_limited_total{key="slow",limit="requests_per_second"} 1.0' in text


async def test_a_broken_file_of_keys_is_told_by_health(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, Key("search", digest_of("secret of search"), "search"))
    async with local_gateway(1, keys_file=file) as gateway:
        ring = gateway.call.service.access._ring
        assert ring is not None
        file.write_text("[keys.search]")
        ring._looked_at = -10.0
        assert (await ask(gateway, "POST", "/count", "search", {}))[0] == 200
        _, full = await ask(gateway, "GET", "/health/full")
        assert "keys.search.sha256" in full["keys_problem"]


async def test_behind_a_proxy_addresses_begin_with_the_root_path() -> None:
    async with local_gateway(1, root_path="/pictures") as gateway:
        await gateway.call.index("a", collection="images", thumbnail=JPEG)
        _, found = await ask(gateway, "POST", "/search", None, {"data": [{"embedding": X}]})
        url = found["data"][0]["matches"][0]["thumbnail_url"]
        assert url == "/pictures/thumbnail?collection=images&id=a"
        assert (await ask(gateway, "GET", url.removeprefix("/pictures")))[1] == JPEG
        _, described = await ask(gateway, "GET", "/openapi.json")
        assert described["servers"] == [{"url": "/pictures"}]


@pytest.mark.parametrize(("trusted", "shown"), [((), "127.0.0.1"), (("127.0.0.0/8",), "198.51.100.7")])
async def test_a_forwarded_address_counts_only_from_a_trusted_proxy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trusted: tuple[str, ...], shown: str
) -> None:
    add_key(tmp_path / "keys.toml", Key("search", digest_of("secret of search"), "search"))
    caplog.set_level(logging.INFO, "executors.gateway.audit")
    async with local_gateway(1, keys_file=tmp_path / "keys.toml", trusted_proxies=trusted) as gateway:
        await ask(gateway, "POST", "/count", None, {}, **{"X-Forwarded-For": "198.51.100.7"})
    assert f"refused /count from {shown} with no known key" in caplog.text


async def test_what_a_key_has_under_way_counts_until_it_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_picture: bytes
) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, Key("few", digest_of("secret of few"), "write", limits=Limits(documents_in_flight=3)))
    add_key(file, Key("light", digest_of("secret of light"), "write", limits=Limits(bytes_in_flight=10)))
    add_key(file, Key("plain", digest_of("secret of plain"), "write", limits=Limits(pixels_in_flight=1_000)))
    add_key(file, Key("free", digest_of("secret of free"), "write"))
    async with local_gateway(1, keys_file=file) as gateway:
        began, go_on = asyncio.Event(), asyncio.Event()
        posted = gateway.call.stages.post

        async def held(*given: Any, **more: Any) -> Any:
            began.set()
            await go_on.wait()
            return await posted(*given, **more)

        vectors = {"data": [{"id": str(n), "embedding": X} for n in range(3)]}
        picture = {"data": [{"id": "p", "blob": base64.b64encode(one_picture).decode()}]}
        for key, body, limit in (
            ("few", vectors, "documents"),
            ("light", picture, "bytes"),
            ("plain", picture, "pixels"),
        ):
            began.clear()
            go_on.clear()
            monkeypatch.setattr(gateway.call.stages, "post", held)
            first = asyncio.create_task(ask(gateway, "POST", "/index", key, body))
            await began.wait()
            status, answer = await ask(gateway, "POST", "/index", key, body)
            assert (status, answer["error"]["details"]["limit"]) == (429, f"{limit}_in_flight")
            monkeypatch.undo()
            assert (await ask(gateway, "POST", "/count", "free", {}))[0] == 200
            go_on.set()
            await first
            status, answer = await ask(gateway, "POST", "/index", key, body)
            assert status != 429, answer
