"""The work of several users on a real flow: searches overtake bulk work, and callers who have left cost nothing more.

By the order in which things end and by what was counted, never by the clock.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import cv2
import pytest
from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from tests.support.flows.flow import RunningFlow
from tests.support.pictures.pictures import encode, scene

# Decoded, some tenths of a second each.
LARGE = (5000, 4000)
MANY = 24


@pytest.fixture(scope="module")
def large_png() -> bytes:
    return encode(cv2.resize(scene(5), LARGE), ".png")


def form_of(picture: bytes, count: int, prefix: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    for number in range(count):
        form.add_field("file", io.BytesIO(picture), filename=f"{prefix}-{number}.png")
    return form


async def decodes(session: aiohttp.ClientSession, flow: RunningFlow) -> dict[str, int]:
    async with session.get(f"{flow.http_url}/status") as answer:
        found: dict[str, int] = (await answer.json())["stages"]["preprocess"]["decodes"]
        return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await condition():
            await asyncio.sleep(0.1)


async def test_searches_pass_two_clients_that_index_in_bulk(
    flow: RunningFlow, large_png: bytes, one_picture: bytes
) -> None:
    async with aiohttp.ClientSession() as session:
        begun = (await decodes(session, flow))["begun"]

        async def index(prefix: str) -> int:
            async with session.post(f"{flow.http_url}/index", data=form_of(large_png, MANY, prefix)) as answer:
                assert answer.status == 200
                return int((await answer.json())["parameters"]["failed"])

        async def bulk_is_running() -> bool:
            return (await decodes(session, flow))["begun"] > begun

        bulk = [asyncio.create_task(index(f"fair-{name}")) for name in "ab"]
        await until(bulk_is_running)
        for _ in range(5):
            async with session.post(f"{flow.http_url}/search", data=form_of(one_picture, 1, "query")) as answer:
                assert answer.status == 200
        state = await decodes(session, flow)
        assert not any(task.done() for task in bulk), "five searches one after the other are answered before"
        assert state["begun"] - begun - 5 < 2 * MANY
        assert await asyncio.gather(*bulk) == [0, 0]


async def test_a_client_that_left_costs_no_decoding_and_leaves_nothing_half_stored(
    flow: RunningFlow, large_png: bytes
) -> None:
    async with aiohttp.ClientSession() as session:
        before = await decodes(session, flow)
        request = asyncio.create_task(
            session.post(f"{flow.http_url}/index", data=form_of(large_png, MANY, "gone")).__aenter__()
        )

        async def is_running() -> bool:
            return (await decodes(session, flow))["begun"] > before["begun"]

        await until(is_running)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

        async def is_idle() -> bool:
            state = await decodes(session, flow)
            return state["waiting"] == state["running"] == 0

        await until(is_idle)
        after = await decodes(session, flow)
        assert after["begun"] - before["begun"] < MANY
        async with session.post(f"{flow.http_url}/index", data=form_of(large_png, 1, "next")) as answer:
            assert answer.status == 200
        assert (await decodes(session, flow))["begun"] == after["begun"] + 1, "nothing of it comes later"


async def test_a_grpc_caller_that_left_costs_no_decoding(flow: RunningFlow, large_png: bytes) -> None:
    async with aiohttp.ClientSession() as session:
        before = await decodes(session, flow)
        documents = DocList[ImageDoc]([ImageDoc.from_values(id=f"gone-grpc-{n}", blob=large_png) for n in range(MANY)])
        client = Client(port=flow.grpc_port, protocol="grpc", asyncio=True)

        async def post() -> None:
            async for _ in client.post("/index", documents, return_type=DocList[ImageDoc], request_size=MANY):
                pass

        request = asyncio.create_task(post())

        async def is_running() -> bool:
            return (await decodes(session, flow))["begun"] > before["begun"]

        await until(is_running)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)

        async def is_idle() -> bool:
            state = await decodes(session, flow)
            return state["waiting"] == state["running"] == 0

        await until(is_idle)
        assert (await decodes(session, flow))["begun"] - before["begun"] < MANY


async def post(flow: RunningFlow, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    sent = {"Content-Type": "application/json", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"{flow.http_url}/search", data=body, headers=sent, skip_auto_headers=["Accept-Encoding"]
        ) as answer,
    ):
        return answer.status, await answer.json()


async def test_gzip_is_taken_and_other_encodings_are_told(flow: RunningFlow) -> None:
    body = json.dumps({"data": [{"embedding": [1.0] * 1280}]}).encode()
    status, _ = await post(flow, gzip.compress(body), **{"Content-Encoding": "gzip"})
    assert status == 200
    status, answer = await post(flow, body, **{"Content-Encoding": "br"})
    assert (status, answer["error"]["code"]) == (415, "unsupported_media_type")
    status, answer = await post(flow, gzip.compress(bytes(300_000_000)), **{"Content-Encoding": "gzip"})
    assert (status, answer["error"]["code"]) == (413, "request_too_large")


async def test_bodies_that_come_slowly_keep_no_one_out(flow: RunningFlow) -> None:
    head = b"POST /search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n"
    slow = []
    try:
        for _ in range(300):
            slow.append(socket.create_connection(("127.0.0.1", flow.http_port)))
            slow[-1].sendall(head + b'{"data":[]')
        body = json.dumps({"data": [{"embedding": [1.0] * 1280}]}).encode()
        for _ in range(3):
            status, answer = await post(flow, body)
            assert status == 200, answer
    finally:
        for connection in slow:
            connection.close()
