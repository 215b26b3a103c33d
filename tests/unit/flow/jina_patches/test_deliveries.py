"""The question whether a process answers at all, over real connections that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from executors.flow.jina_patches import deliveries


class Breaking:
    """Stands between caller and server, and breaks a connection when the next bytes come, as often as it is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.breaks = 0
        self.broken = 0

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def back() -> None:
            while data := await inner_reader.read(65_536):
                writer.write(data)

        returning = asyncio.create_task(back())
        while data := await reader.read(65_536):
            if self.breaks:
                self.breaks -= 1
                self.broken += 1
                break
            inner_writer.write(data)
        returning.cancel()
        inner_writer.close()
        writer.transport.abort()


@pytest_asyncio.fixture
async def breaking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Breaking]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    between = Breaking(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    listener = await asyncio.start_server(between.connected, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        monkeypatch.setattr(deliveries, "connection_to", lambda *_: SimpleNamespace(channel=channel))
        yield between
    listener.close()
    await server.stop(None)


async def answers() -> bool:
    return await deliveries._answers_health(None, "127.0.0.1:1", 5.0)


async def test_a_connection_that_broke_while_it_was_idle_is_no_silence(breaking: Breaking) -> None:
    assert await answers()
    breaking.breaks = 1
    assert await answers()
    assert breaking.broken == 1


async def test_a_process_whose_connections_all_break_does_not_answer(breaking: Breaking) -> None:
    breaking.breaks = 100
    assert not await answers()
