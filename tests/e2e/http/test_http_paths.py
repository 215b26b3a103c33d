"""Paths are taken literally or refused; bytes that are not HTTP get a JSON error; HEAD, ETag and keep-alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import pytest
import pytest_asyncio

from executors.gateway.access import thumbnail_url
from tests.support.flows.local_gateway import LocalGateway, local_gateway
from tests.support.flows.raw_http import Answered, exchange

JPEG = b"\xff\xd8\xff thumbnail of "
CONTROL = [
    "a",
    "a\nb",
    "a\n",
    "a/b",
    "a//b",
    ".",
    "..",
    "a\x00b",
    "a%41",
    "a?b",
    "a#b",
    "\ufffd",
    "é",
    "a+b",
    "a b",
    "a&id=x",
]


@pytest_asyncio.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    """A gateway over collections `keep` and `images`, the latter with thumbnails of odd ids."""
    async with local_gateway(2) as running:
        await running.call.index("kept", collection="keep")
        for document_id in CONTROL:
            result = await running.call.index(document_id, collection="images", thumbnail=JPEG + document_id.encode())
            assert result == "created", document_id
        yield running


async def ask(gateway: LocalGateway, target: str, method: str = "GET", **headers: str) -> Answered:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return await exchange(urlsplit(gateway.url).port or 0, ("\r\n".join(lines) + "\r\n\r\n").encode())


@pytest.mark.parametrize(
    "name",
    ["keep%0A", "keep%0a", "keep%00", "keep%2F", "keep/", "keep%0D%0A", "keep%20", "keep%FF", "./keep",
     "x/../keep", "keep%250A", "/keep", "%E2%80%A8keep", "keep;x"],
)  # fmt: skip
async def test_no_other_name_drops_a_collection(gateway: LocalGateway, name: str) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE"):
        answer = await ask(gateway, f"/collections/{name}", method, Content_Length="0")
        assert answer.status in (400, 404), (method, answer)
    assert (await ask(gateway, "/collections/keep")).json()["collection"]["documents"] == 1


@pytest.mark.parametrize(
    "path",
    [
        "/status%0A", "/health/live%0A", "/collections%0A", "/collections%2Fkeep", "//status", "/status/",
        "/thumbnail/images%2Fa", "/./status", "/docs%0A", "/openapi.json%0a",
    ],
)  # fmt: skip
async def test_a_path_that_looks_like_another_is_unknown(gateway: LocalGateway, path: str) -> None:
    answer = await ask(gateway, path)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "unknown_endpoint")


@pytest.mark.parametrize("document_id", CONTROL)
async def test_every_id_has_its_own_thumbnail(gateway: LocalGateway, document_id: str) -> None:
    for target in (thumbnail_url("images", document_id), f"/thumbnail/images/{quote(document_id, safe='')}"):
        answer = await ask(gateway, target)
        assert (answer.status, answer.body) == (200, JPEG + document_id.encode()), target
    assert (await ask(gateway, thumbnail_url("images", document_id) + "%0A")).status == (
        404 if document_id != "a" else 200
    )


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("/thumbnail/images/%FF", "invalid_parameter"),
        ("/thumbnail/images/%ED%A0%80", "invalid_parameter"),
        ("/thumbnail?id=%FF", "invalid_parameter"),
        ("/thumbnail?id=a&id=b", "invalid_parameter"),
        ("/thumbnail?id=a&colection=x", "invalid_parameter"),
        ("/thumbnail?collection=images", "invalid_parameter"),
        ("/thumbnail/images/", "invalid_id"),
        ("/thumbnail?id=", "invalid_id"),
    ],
)
async def test_what_can_not_be_taken_literally_is_refused(gateway: LocalGateway, target: str, code: str) -> None:
    answer = await ask(gateway, target)
    assert (answer.status, answer.json()["error"]["code"]) == (400, code)


async def test_head_answers_like_get_without_a_body(gateway: LocalGateway) -> None:
    for target in (
        "/", "/health/live", "/health/ready", "/health/full", "/status", "/collections", "/collections/keep", "/docs",
        "/openapi.json", "/thumbnail/images/a", "/thumbnail?id=a", "/thumbnail?id=nope", "/static-offline-docs/favicon.png",
    ):  # fmt: skip
        got, head = await ask(gateway, target), await ask(gateway, target, "HEAD")
        assert (head.status, head.headers.get("content-type"), head.body) == (
            got.status,
            got.headers.get("content-type"),
            b"",
        ), target


async def test_a_known_thumbnail_is_not_sent_again(gateway: LocalGateway) -> None:
    tag = (await ask(gateway, "/thumbnail?id=a")).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = await ask(gateway, "/thumbnail?id=a", If_None_Match=known)
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag), known
    assert (await ask(gateway, "/thumbnail?id=a", If_None_Match='"other"')).status == 200
    assert (await ask(gateway, "/thumbnail?id=nope", If_None_Match="*")).status == 404
    await gateway.call.index("a", collection="images", thumbnail=JPEG + b"new")
    changed = await ask(gateway, "/thumbnail?id=a", If_None_Match=tag)
    assert (changed.status, changed.body) == (200, JPEG + b"new")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/search", "POST"),
        ("POST", "/status", "GET, HEAD"),
        ("PATCH", "/collections/keep", "DELETE, GET, HEAD, PUT"),
        ("POST", "/static-offline-docs/favicon.png", "GET, HEAD"),
        ("OPTIONS", "/collections", "GET, HEAD"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(
    gateway: LocalGateway, method: str, path: str, allowed: str
) -> None:
    answer = await ask(gateway, path, method, Content_Length="0")
    assert (answer.status, answer.json()["error"]["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: b\x00c\r\n\r\n", 400, "malformed_request"),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400, "malformed_request"),
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "malformed_request"),
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400, "malformed_request"),
        (b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 300_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /" + b"a" * 300_000, 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed_request"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None, None),
    ],
)  # fmt: skip
async def test_what_is_no_http_gets_an_error_in_our_form(
    gateway: LocalGateway, sent: bytes, status: int | None, code: str | None
) -> None:
    answer = await exchange(urlsplit(gateway.url).port or 0, sent)
    assert set(answer.json()["error"]) == {"code", "message", "details"}
    assert answer.headers["content-type"] == "application/json"
    if status is not None:
        assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert (await ask(gateway, "/health/live")).status == 200


async def test_health_answers_under_any_name(gateway: LocalGateway) -> None:
    for path in ("/health/live", "/health/ready", "/health/full"):
        answer = await ask(gateway, path, Host="balancer.internal", Origin="https://elsewhere.example")
        assert answer.status in (200, 400)
    port = urlsplit(gateway.url).port or 0
    for path, status in (("/health/live", 200), ("/health/ready", 200), ("/status", 403), ("/health%2Flive", 403)):
        answer = await exchange(port, f"GET {path} HTTP/1.1\r\nHost: odd.example\r\nConnection: close\r\n\r\n".encode())
        assert answer.status == status, path


async def test_an_idle_connection_stays_open_for_as_long_as_it_was_set() -> None:
    async with local_gateway(1) as usual, local_gateway(1, keepalive_s=1) as short:
        connections = []
        for gateway in (usual, short):
            reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(gateway.url).port)
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await reader.readuntil(b"\r\n")
            connections.append((reader, writer))
        # Ends when the server closes; were the setting not heeded, that of the other one, which is older, would have ended first.
        await connections[1][0].read()
        reader, writer = connections[0]
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).count(b"200 OK") == 1
        for _, writer in connections:
            writer.close()


async def test_any_origin_may_call_when_that_was_set() -> None:
    async with local_gateway(1, allowed_origins=("*",)) as gateway:
        for origin in ("https://shop.example", "null"):
            answer = await ask(gateway, "/status", Origin=origin)
            assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
        missing = await ask(gateway, "/thumbnail?id=nope", Origin="https://shop.example")
        assert (missing.status, missing.headers["access-control-allow-origin"]) == (404, "*")
        asked = await ask(
            gateway, "/search", "OPTIONS", Origin="https://a.example", Access_Control_Request_Method="POST"
        )
        assert asked.status == 200
    async with local_gateway(1, allowed_origins=("HTTPS://Shop.Example:443/",)) as gateway:
        answer = await ask(gateway, "/status", Origin="https://shop.example")
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        foreign = await ask(
            gateway, "/search", "OPTIONS", Origin="https://evil.example", Access_Control_Request_Method="POST"
        )
        assert (foreign.status, json.loads(foreign.body)["error"]["code"]) == (403, "forbidden_origin")


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/health/live", {"X": 60_000}, 200),
        ("/health/live", {"X": 66_000}, 431),
        ("/collections", {"X": 33_000, "Y": 33_000}, 431),
        ("/thumbnail?id=" + "a" * 60_000, {}, 400),
        ("/thumbnail?id=" + "a" * 66_000, {}, 431),
        ("/" + "a" * 66_000, {}, 431),
    ],
    ids=["one", "too long", "too many", "query", "long query", "long path"],
)
async def test_headers_have_one_limit_however_they_come(
    gateway: LocalGateway, target: str, headers: dict[str, int], status: int
) -> None:
    answer = await ask(gateway, target, **{name: "a" * size for name, size in headers.items()})
    assert answer.status == status
    assert status != 431 or answer.json()["error"]["code"] == "headers_too_large"
