"""What a start says: where, what, and for whom."""

from pathlib import Path

import pytest

from executors.announcement import access, places, readiness_line
from executors.settings import Settings


def test_loopback_is_said_plainly_and_any_other_address_with_a_warning() -> None:
    assert access("127.0.0.1")[0] is False
    worth_warning, line = access("0.0.0.0")
    assert worth_warning
    assert "no key is asked for" in line
    assert "VS_HOST=0.0.0.0 is not loopback" in line


def test_addresses_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"HOST": "::", "HTTP_PORT": "8081", "GRPC_PORT": "8082", "WORKSPACE": str(tmp_path)}.items():
        monkeypatch.setenv(f"VS_{name}", value)
    where, data = places(Settings())
    assert "http://[::1]:8081" in where
    assert "grpc://[::1]:8082" in where
    assert "every other address" in where
    assert str(tmp_path) in data


def test_without_ipv6_every_address_is_every_one_of_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_HOST", "0.0.0.0")
    assert "every other IPv4 address of this machine" in places(Settings())[0]


def test_a_flow_that_is_not_ready_says_why() -> None:
    assert readiness_line(2.0, None) == "ready after 2.0 s"
    assert "shard_identity: other folder" in readiness_line(2.0, "shard_identity: other folder")
