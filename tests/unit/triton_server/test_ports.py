"""Ports that are kept for a server while it is not listening."""

from __future__ import annotations

import socket

import pytest

from executors.triton_server.ports import ReservedPort


def bind(port: int, *, reuse: bool) -> socket.socket:
    listener = socket.socket()
    if reuse:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_a_process_that_looks_for_a_free_port_does_not_get_it() -> None:
    port = ReservedPort()
    with pytest.raises(OSError, match="in use"):
        bind(port.number, reuse=False)
    port.release()
    bind(port.number, reuse=False).close()


def test_a_server_that_reuses_addresses_listens_on_it_again_and_again() -> None:
    port = ReservedPort()
    for _ in range(2):
        server = bind(port.number, reuse=True)
        client = socket.create_connection(("127.0.0.1", port.number), timeout=2)
        accepted, _ = server.accept()
        for each in (accepted, client, server):
            each.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.number), timeout=2)
    port.release()


def test_ports_of_two_servers_differ() -> None:
    ports = [ReservedPort() for _ in range(50)]
    assert len({port.number for port in ports}) == 50
    for port in ports:
        port.release()
        port.release()
