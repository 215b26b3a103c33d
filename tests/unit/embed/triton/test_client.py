"""The meaning of a call's failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from executors.embed.triton.client import CallError, FailureKind, connect, infer
from tests.support.triton.triton_stand_in import IMAGE, StandInTriton, pictures
from tests.unit.embed.triton.conftest import until


@pytest.fixture
async def server() -> AsyncIterator[StandInTriton]:
    started = await StandInTriton().start()
    yield started
    await started.stop()


@pytest.fixture
async def client(server: StandInTriton) -> AsyncIterator[Any]:
    made = connect(server.url)
    yield made
    await made.close()


async def failure(client: Any, seconds: float = 2) -> CallError:
    with pytest.raises(CallError) as caught:
        await infer(client, IMAGE, pictures(2), seconds)
    return caught.value


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, "Server is stopping", FailureKind.UNREACHABLE),
        (grpc.StatusCode.CANCELLED, "", FailureKind.UNREACHABLE),
        (grpc.StatusCode.UNAVAILABLE, "[request id: 1] Exceeds maximum queue size", FailureKind.BUSY),
        (grpc.StatusCode.UNAVAILABLE, "Request timeout expired", FailureKind.BUSY),
        (grpc.StatusCode.UNAVAILABLE, "unknown model: 'tiny' version 1 is not at ready state", FailureKind.REFUSED),
        (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'tiny' is not found", FailureKind.REFUSED),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape for input 'image'", FailureKind.REFUSED),
        (grpc.StatusCode.INTERNAL, "onnx runtime error", FailureKind.SERVER_ERROR),
        (grpc.StatusCode.UNKNOWN, "", FailureKind.SERVER_ERROR),
        (grpc.StatusCode.INTERNAL, "Stub process 'tiny_0' is not healthy.", FailureKind.BROKEN),
        (grpc.StatusCode.INTERNAL, "in ensemble 'x', Stub process is not healthy.", FailureKind.BROKEN),
    ],
)
async def test_what_a_server_says_has_one_meaning(
    server: StandInTriton, client: Any, status: grpc.StatusCode, text: str, kind: FailureKind
) -> None:
    server.fault = (status, text)
    error = await failure(client)
    assert error.kind is kind
    assert text in error.server_text


async def test_what_the_server_says_stays_out_of_the_message(server: StandInTriton, client: Any) -> None:
    server.fault = (grpc.StatusCode.INTERNAL, "at /srv/models/tiny/1/model.onnx\n" + "x" * 10_000)
    error = await failure(client)
    assert "/srv" not in error.message
    assert error.server_text == "at /srv/models/tiny/1/model.onnx"


async def test_a_dead_process_of_the_server_is_told_in_words_of_ours(server: StandInTriton, client: Any) -> None:
    server.fault = (grpc.StatusCode.INTERNAL, "Stub process 'tiny_0' is not healthy.")
    error = await failure(client)
    assert error.message == "a process that runs the model is dead or hung"


async def test_a_deadline_holds(server: StandInTriton, client: Any) -> None:
    server.hold()
    assert (await failure(client, 0.2)).kind is FailureKind.DEADLINE


async def test_a_port_without_a_server_is_unreachable() -> None:
    client = connect("127.0.0.1:9")
    assert (await failure(client)).kind is FailureKind.UNREACHABLE
    await client.close()


async def test_closing_a_client_fails_its_calls_and_does_not_cancel_their_callers(
    server: StandInTriton, client: Any
) -> None:
    server.hold()
    call = asyncio.create_task(failure(client, 30))
    await until(lambda: server.in_flight)
    await client.close()
    assert (await call).kind is FailureKind.UNREACHABLE


async def test_a_caller_that_is_cancelled_is_cancelled(server: StandInTriton, client: Any) -> None:
    server.hold()
    call = asyncio.create_task(infer(client, IMAGE, pictures(1), 30))
    await until(lambda: server.in_flight)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not server.in_flight)
