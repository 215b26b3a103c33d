"""Every part of a request is obeyed or refused; no part is silently ignored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.support.flows.local_gateway import LocalGateway, local_gateway
from tests.support.flows.raw_http import Answered, exchange

JSON = "application/json"


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    """A gateway over the collection `keep`."""
    async with local_gateway(2) as running:
        await running.call.index("kept", collection="keep", thumbnail=b"\xff\xd8\xff thumbnail")
        yield running


async def send(
    gateway: LocalGateway, method: str, target: str, body: bytes = b"", content_type: str = JSON, *headers: str
) -> Answered:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    head = "\r\n".join([*lines, *headers]) + "\r\n\r\n"
    return await exchange(urlsplit(gateway.url).port or 0, head.encode() + body)


def code_of(answer: Answered) -> Any:
    content = answer.json()
    return (content.get("error") or content["data"][0]["error"] or {}).get("code")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/collections/made?dimension=4"),
        ("PUT", "/collections/made?model_id=x"),
        ("DELETE", "/collections/keep?filter=%7B%22a%22:1%7D"),
        ("DELETE", "/collections/keep?x"),
        ("GET", "/collections/keep?x=1"),
        ("GET", "/collections?limit=1"),
        ("GET", "/thumbnail/keep/kept?id=other"),
        ("GET", "/thumbnail/keep/kept?x"),
        ("POST", "/verify?repare=true"),
        ("POST", "/verify?repair=yes"),
        ("POST", "/verify?collection=keep"),
        ("POST", "/reindex?colection=keep"),
    ],
)
async def test_what_a_query_string_asks_for_in_vain_is_refused(gateway: LocalGateway, method: str, target: str) -> None:
    refused = await send(gateway, method, target)
    assert (refused.status, code_of(refused)) == (400, "invalid_parameter")
    listed = (await send(gateway, "GET", "/collections")).json()["collections"]
    assert [each["name"] for each in listed] == ["keep"]


async def test_a_drop_with_a_body_that_asks_for_less_is_refused(gateway: LocalGateway) -> None:
    for body in (b'{"filter": {"a": 1}}', b'{"data": [{"id": "kept"}]}', b'{"parameters": {}}', b"[]"):
        refused = await send(gateway, "DELETE", "/collections/keep", body)
        assert (refused.status, code_of(refused) in ("invalid_parameter", "malformed_body")) == (400, True), body
    assert (await send(gateway, "DELETE", "/collections/keep", b"{}")).json() == {"result": "deleted", "documents": 1}


async def test_an_encoding_in_a_second_line_counts(gateway: LocalGateway) -> None:
    two = ("Content-Encoding: identity", "Content-Encoding: br")
    assert code_of(await send(gateway, "POST", "/count", b"{}", JSON, *two)) == "unsupported_media_type"


async def test_upkeep_takes_its_parameters_from_the_query_string_too(gateway: LocalGateway) -> None:
    assert code_of(await send(gateway, "POST", "/reindex?collection=nobodys")) == "collection_not_found"
    assert (await send(gateway, "POST", "/reindex?collection=keep")).json() == {"ok": True}
    assert (await send(gateway, "POST", "/verify?repair=true")).json()["ok"] is True
    twice = await send(gateway, "POST", "/verify?repair=true", b'{"parameters": {"repair": false}}')
    assert code_of(twice) == "invalid_parameter"


async def test_an_id_in_a_query_string_is_text(gateway: LocalGateway) -> None:
    for name in ("1", "2", "true"):
        assert await gateway.call.index(name, collection="numbers") == "created"
    answer = (await send(gateway, "POST", "/scroll?collection=numbers&after=1")).json()
    assert [each["id"] for each in answer["data"]] == ["2", "true"]
    assert (await send(gateway, "POST", "/search?collection=numbers&like=2")).status == 200


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ('{"a":1,"a":2}', "malformed_body"),
        ('{"a":[{"b":{"c":1,"c":1}}]}', "malformed_body"),
        ('{"a":123456789012345678901234567890}', "invalid_filter"),
        ('{"a":', "invalid_filter"),
    ],
)
async def test_json_in_a_query_string_is_read_like_json_in_a_body(gateway: LocalGateway, given: str, code: str) -> None:
    target = "/count?collection=keep&filter=" + given.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    assert code_of(await send(gateway, "POST", target)) == code


@pytest.mark.parametrize(
    ("method", "target"), [("PUT", "/collections/made"), ("POST", "/verify"), ("POST", "/reindex")]
)
async def test_a_body_that_is_not_json_is_refused_everywhere(gateway: LocalGateway, method: str, target: str) -> None:
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "image/png"):
        refused = await send(gateway, method, target, b"{}", content_type)
        assert (refused.status, code_of(refused)) == (415, "unsupported_media_type")
    for content_type in ("", JSON, "text/json", "application/vnd.x+json; charset=utf-8"):
        assert (await send(gateway, method, target, b"{}", content_type)).status == 200


async def test_a_known_thumbnail_may_stand_in_a_second_line(gateway: LocalGateway) -> None:
    tag = (await send(gateway, "GET", "/thumbnail/keep/kept")).headers["etag"]
    lines = ('If-None-Match: "other"', f"If-None-Match: {tag}")
    assert (await send(gateway, "GET", "/thumbnail/keep/kept", b"", "", *lines)).status == 304


def form(*parts: tuple[str, str, bytes]) -> bytes:
    written = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"
        for name, more, value in parts
    ]
    return b"".join(written) + b"--x--\r\n"


FILE = ("file", '; filename="a.jpg"', b"no picture")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([("tags", "", b"0")], "invalid_tags"),
        ([("tags", "", b"false")], "invalid_tags"),
        ([("tags", "", b'""')], "invalid_tags"),
        ([("tags", "", b"[]")], "malformed_body"),
        ([("tags", "", b"[0]")], "invalid_tags"),
        ([("tags", "", b'{"a": "\xff"}')], "malformed_body"),
        ([("tags", "", b"{}"), ("tags", "", b'{"a": 1}')], "malformed_body"),
        ([("ids", "", b'["a"]'), ("ids", "", b'["b"]')], "malformed_body"),
        ([("parameters", "", b"{}"), ("parameters", '; filename="p"', b'{"collection": "x"}')], "malformed_body"),
    ],
)
async def test_no_part_of_a_form_is_lost(gateway: LocalGateway, parts: list[tuple[str, str, bytes]], code: str) -> None:
    answer = await send(gateway, "POST", "/index", form(FILE, *parts), "multipart/form-data; boundary=x")
    assert code_of(answer) == code
