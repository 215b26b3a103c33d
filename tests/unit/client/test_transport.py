"""Retries: the client sends again, a bounded number of times, and nothing is written twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, ClassVar

import pytest

from executors.client import Document, RetryPolicy, VisualSearchClient
from executors.client.transport import normalise_url, parse_retry_after, without_password
from executors.errors import VisualSearchError
from executors.request_id import request_scope
from tests.support.flows.wire_service import Fault, WireService, wire_service

QUICK = RetryPolicy(attempts=4, base_s=0.01, cap_s=0.02)


@pytest.fixture
def service() -> Iterator[WireService]:
    with wire_service() as running:
        yield running


@pytest.fixture
async def client(service: WireService) -> AsyncIterator[VisualSearchClient]:
    async with VisualSearchClient(service.url, retry=QUICK, timeout_s=5) as made:
        yield made


@pytest.mark.parametrize("status", [429, 503, 502])
async def test_a_busy_or_restarting_service_is_asked_again(
    client: VisualSearchClient, service: WireService, status: int
) -> None:
    service.faults.extend([Fault(status=status), Fault(status=status)])
    answer = await client.index([Document(id="a", blob=b"x")])
    assert answer[0].result == "created"
    assert len(service.requests) == 3


async def test_a_service_that_stays_busy_is_asked_a_bounded_number_of_times(
    client: VisualSearchClient, service: WireService
) -> None:
    service.standing_faults.append(Fault(status=429, code="overloaded"))
    with pytest.raises(VisualSearchError) as caught:
        await client.search([Document(blob=b"x")])
    assert (caught.value.code, caught.value.details) == ("overloaded", {"limit": 5})
    assert len(service.requests) == QUICK.attempts


async def test_a_request_keeps_its_id_when_it_is_sent_again_and_the_error_has_it(
    client: VisualSearchClient, service: WireService
) -> None:
    service.standing_faults.append(Fault(status=429, code="overloaded"))
    with request_scope("order-17"), pytest.raises(VisualSearchError) as caught:
        await client.search([Document(blob=b"x")])
    assert caught.value.request_id == "order-17"
    assert service.request_ids == ["order-17"] * QUICK.attempts
    with pytest.raises(VisualSearchError) as caught:
        await client.search([Document(blob=b"x")])
    assert caught.value.request_id == service.request_ids[-1] != "order-17"


async def test_retry_after_is_honoured(client: VisualSearchClient, service: WireService) -> None:
    service.faults.append(Fault(status=429, retry_after="1"))
    await client.search([Document(blob=b"x")])
    assert service.times[1] - service.times[0] >= 0.99


def test_pauses_grow_vary_and_are_bounded() -> None:
    policy = RetryPolicy(attempts=9, base_s=1, cap_s=8)
    for attempt, longest in enumerate([1, 2, 4, 8, 8, 8]):
        pauses = [policy.pause(attempt) for _ in range(50)]
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(set(pauses)) > 1
    assert policy.pause(0, retry_after_s=20) == 20
    assert policy.pause(0, retry_after_s=1e9) == 30


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("3", 3), ("0.5", 0.5), ("-1", 0), ("nan", 0), ("inf", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
def test_retry_after_headers(value: str | None, seconds: float) -> None:
    assert parse_retry_after(value) == seconds


async def test_an_answer_lost_after_the_acknowledgement_costs_nothing(
    client: VisualSearchClient, service: WireService
) -> None:
    service.faults.append(Fault(drop="after"))
    answer = await client.index([Document(id="a", blob=b"x")])
    assert answer[0].result == "unchanged"
    assert list(service.documents) == [("images", "a")]


async def test_a_document_without_an_id_is_not_doubled_by_a_retry(
    client: VisualSearchClient, service: WireService
) -> None:
    service.faults.extend([Fault(drop="after"), Fault(drop="before"), Fault(status=503)])
    answer = await client.index([Document(blob=b"x"), Document(embedding=[1.0])])
    assert len(service.requests) == 4
    assert sorted(each.id for each in answer) == sorted(id_ for _, id_ in service.documents)


async def test_a_connection_that_keeps_breaking_is_unavailable(
    client: VisualSearchClient, service: WireService
) -> None:
    service.standing_faults.append(Fault(drop="before"))
    with pytest.raises(VisualSearchError, match="broke several times") as caught:
        await client.get(["a"])
    assert caught.value.code == "unavailable"
    assert len(service.requests) == QUICK.attempts


async def test_where_nothing_listens_the_error_says_how_to_start() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    async with VisualSearchClient(url, retry=QUICK) as client:
        with pytest.raises(VisualSearchError, match="visual-search serve") as caught:
            await client.status()
    assert caught.value.code == "unavailable"


class CountingPolicy(RetryPolicy):
    """Counts the pauses."""

    pauses: ClassVar[list[int]] = []

    def pause(self, attempt: int, retry_after_s: float = 0.0) -> float:
        self.pauses.append(attempt)
        return 0.0


@pytest.mark.parametrize(("was_there", "pauses"), [(True, [0, 1, 2, 3]), (False, [])])
async def test_a_service_that_went_away_is_waited_for_and_one_that_never_was_is_not(
    was_there: bool, pauses: list[int]
) -> None:
    CountingPolicy.pauses.clear()
    with wire_service() as service:
        client = VisualSearchClient(service.url, retry=CountingPolicy(attempts=5))
        if was_there:
            await client.status()
    with pytest.raises(VisualSearchError, match="nothing answers"):
        await client.status()
    await client.close()
    assert CountingPolicy.pauses == pauses


async def test_an_answer_that_takes_too_long_is_given_up_and_not_asked_for_again(service: WireService) -> None:
    service.delay_s = 2
    async with VisualSearchClient(service.url, retry=QUICK, timeout_s=0.2) as client:
        with pytest.raises(VisualSearchError) as caught:
            await client.search([Document(blob=b"x")])
    assert caught.value.code == "deadline_exceeded"
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("localhost:80", "http://localhost:80"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://search.example/api/", "https://search.example/api"),
    ],
)
def test_urls_are_completed(given: str, url: str) -> None:
    assert normalise_url(given) == url


@pytest.mark.parametrize(
    "given", ["", "http://", "ftp://host", "http://host:port", "http://host:99999", "http://h/?a=1"]
)
def test_what_is_not_a_url_is_refused(given: str) -> None:
    with pytest.raises(VisualSearchError) as caught:
        normalise_url(given)
    assert caught.value.code == "invalid_parameter"


async def test_a_client_can_be_used_again_after_it_was_closed(client: VisualSearchClient) -> None:
    await client.close()
    status: dict[str, Any] = await client.status()
    assert status["api"] == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x00\x18\x04\x00\x00\x00\x00\x00\x00\x04\x00@\x00\x00\x00\x05\x00@\x00\x00",  # how gRPC begins
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://a/b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /status\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\nxx",
    ],
)
async def test_what_is_no_service_is_an_error_with_a_code(answer: bytes) -> None:
    async def reply(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with VisualSearchClient(f"http://127.0.0.1:{port}", retry=QUICK, timeout_s=5) as client:
            with pytest.raises(VisualSearchError) as caught:
                await client.status()
    assert caught.value.code == "unavailable"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://host:8080", "http://host:8080"),
        ("host:8080", "host:8080"),
        ("http://user@host", "http://user@host"),
        ("https://user:secret@host/prefix", "https://user:***@host/prefix"),
        ("user:secret@host", "user:***@host"),
        ("http://user:se@/:cret@host", "http://user:***@host"),
        ("ftp://user:secret@host", "ftp://user:***@host"),
        ("http://:secret@host", "http://:***@host"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert without_password(url) == shown


@pytest.mark.parametrize(
    "url", ["ftp://user:secret@host", "http://user:se/cret@host", "http://user:secret@127.0.0.1:9"]
)
async def test_no_error_shows_a_password(url: str) -> None:
    with pytest.raises(VisualSearchError) as refused:
        async with VisualSearchClient(url, retry=QUICK) as client:
            await client.status()
    assert "cret" not in str(refused.value.to_json())


async def test_a_password_is_sent_and_not_shown(service: WireService) -> None:
    url = service.url.replace("://", "://user:secret@")
    async with VisualSearchClient(url, retry=QUICK) as client:
        assert client.url == service.url.replace("://", "://user:***@")
        assert (await client.index([Document(id="a", blob=b"x")]))[0].result == "created"
    assert service.authorizations == ["Basic dXNlcjpzZWNyZXQ="]
