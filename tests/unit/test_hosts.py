"""Addresses: what may be one, who reaches it, and whether it is free."""

import socket

import pytest

from executors.hosts import address_fault, is_everywhere, is_host, is_loopback, listening_fault, reachable_host


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "::", "localhost", "gpu-1.example", "my_host", "fe80::1%eth0"])
def test_what_may_be_a_host(text: str) -> None:
    assert is_host(text)


@pytest.mark.parametrize(
    "text", ["", " ", "[::1]", "a b", "1.2.3", "99999999999", "-a", "x" * 64, "http://a", "a:80", "\udcff"]
)
def test_what_may_not(text: str) -> None:
    assert not is_host(text)


@pytest.mark.parametrize(
    ("host", "loopback", "everywhere", "reached"),
    [
        ("127.0.0.1", True, False, "127.0.0.1"),
        ("127.9.9.9", True, False, "127.9.9.9"),
        ("::1", True, False, "[::1]"),
        ("localhost", True, False, "localhost"),
        ("0.0.0.0", False, True, "127.0.0.1"),
        ("::", False, True, "[::1]"),
        ("192.0.2.7", False, False, "192.0.2.7"),
    ],
)
def test_which_machines_reach_an_address(host: str, loopback: bool, everywhere: bool, reached: str) -> None:
    assert (is_loopback(host), is_everywhere(host), reachable_host(host)) == (loopback, everywhere, reached)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_port_that_is_taken_is_named_with_its_holder(host: str) -> None:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        port = taken.getsockname()[1]
        fault = listening_fault(host, port)
        assert fault is not None
        assert f"port {port} of {host} is taken by" in fault
    assert listening_fault(host, port) is None


def test_a_port_that_others_may_share_is_taken_all_the_same() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert listening_fault("127.0.0.1", taken.getsockname()[1]) is not None


def test_an_address_of_another_machine_is_refused() -> None:
    assert "nothing can listen" in str(listening_fault("192.0.2.250", 8080))


@pytest.mark.parametrize("host", ["192.0.2.250", "::ffff:127.0.0.1", "::1%lo", "2001:db8::7"])
def test_an_address_that_no_server_can_have_is_told_whatever_the_port(host: str) -> None:
    assert str(address_fault(host)).startswith(f"nothing can listen at {host}: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "0.0.0.0", "localhost"])
def test_an_address_of_this_machine_is_none(host: str) -> None:
    assert address_fault(host) is None


def test_at_all_addresses_a_port_that_ipv4_alone_has_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "is taken by" in str(listening_fault("::", taken.getsockname()[1]))
