"""The caller's address behind proxies: only what a trusted one adds is believed."""

from __future__ import annotations

import pytest

from executors.gateway.http.callers import forwarded_address

PROXIES = ("10.0.0.0/8", "192.0.2.1", "fd00::/8")


@pytest.mark.parametrize(
    ("address", "forwarded", "found"),
    [
        ("198.51.100.7", "1.2.3.4", "198.51.100.7"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
        ("10.1.2.3", "198.51.100.7, 192.0.2.1", "198.51.100.7"),
        ("fd00::1", "2001:db8::5", "2001:db8::5"),
        ("10.1.2.3", "unknown, 10.9.9.9", "unknown"),
        (None, "1.2.3.4", None),
    ],
)
def test_the_last_address_that_is_no_proxys_counts(address: str | None, forwarded: str, found: str | None) -> None:
    assert forwarded_address(address, forwarded, PROXIES) == found


def test_without_trusted_proxies_the_header_counts_for_nothing() -> None:
    assert forwarded_address("127.0.0.1", "1.2.3.4", ()) == "127.0.0.1"
