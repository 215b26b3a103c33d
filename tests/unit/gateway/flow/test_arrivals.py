"""The gateway waits for the processes of the stages before it asks them for anything."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from executors.gateway.flow.arrivals import wait_for_processes


def bound() -> socket.socket:
    """A port that does not accept connections yet."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    return made


def address_of(port: socket.socket) -> str:
    return f"127.0.0.1:{port.getsockname()[1]}"


def never() -> bool:
    return False


async def test_it_waits_until_every_process_listens() -> None:
    looks = 0
    with closing(bound()) as late, closing(bound()) as early:
        early.listen()

        def look() -> bool:
            nonlocal looks
            looks += 1
            if looks == 3:
                late.listen()
            return False

        await wait_for_processes([address_of(early), address_of(late), address_of(early)], look, wait_s=1_000)
    assert looks == 3


async def test_the_flow_starts_without_a_process_that_stays_away() -> None:
    with closing(bound()) as away:
        await wait_for_processes([address_of(away)], never, wait_s=0.1)


async def test_the_flow_starts_without_a_process_whose_host_is_not_known() -> None:
    await wait_for_processes(["no-such-host.invalid:1"], never, wait_s=0.1)


async def test_a_flow_that_is_being_stopped_waits_no_longer() -> None:
    answers = iter([False, False, True])
    with closing(bound()) as away:
        await wait_for_processes([address_of(away)], lambda: next(answers), wait_s=1_000)
    assert list(answers) == []


async def test_a_process_with_an_ipv6_address_is_found() -> None:
    try:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.wait_for(wait_for_processes([f"[::1]:{port}"], never, wait_s=1_000), 60)
