"""A question to a replica whose idle connection was closed: it is asked once more, and a dead one is not asked for ever."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from jina.types.request.data import DataRequest

from executors.gateway.flow import replica_calls


class Connection:
    def __init__(self, *outcomes: grpc.StatusCode | None) -> None:
        self.outcomes = list(outcomes)

    async def send_requests(self, **_: Any) -> tuple[str, None]:
        code = self.outcomes.pop(0)
        if code is not None:
            raise AioRpcError(code, Metadata(), Metadata())
        return "answer", None


async def sent(monkeypatch: pytest.MonkeyPatch, *outcomes: grpc.StatusCode | None) -> tuple[Any, Connection]:
    connection = Connection(*outcomes)
    monkeypatch.setattr(replica_calls, "connection_to", lambda *_: connection)
    try:
        return await replica_calls._sent(None, "127.0.0.1:1", DataRequest(), "/status"), connection
    except AioRpcError as error:
        return error.code(), connection


async def test_a_connection_that_was_closed_meanwhile_is_used_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found, connection = await sent(monkeypatch, grpc.StatusCode.UNAVAILABLE, None)
    assert found == "answer"
    assert connection.outcomes == []


async def test_a_dead_replica_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = grpc.StatusCode.UNAVAILABLE
    assert (await sent(monkeypatch, gone, gone, None))[0] == gone


async def test_a_replica_that_takes_too_long_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    late = grpc.StatusCode.DEADLINE_EXCEEDED
    found, connection = await sent(monkeypatch, late, None)
    assert found == late
    assert connection.outcomes == [None]
