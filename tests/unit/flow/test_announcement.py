"""The log lines of a start: addresses, contents, and who may use the service."""

from pathlib import Path
from typing import Any

import pytest

from executors.flow.announcement import access, contents_line, places, readiness_line
from executors.settings import Settings


def test_loopback_is_said_plainly_and_any_other_address_with_a_warning() -> None:
    assert access(Settings(host="127.0.0.1"))[0] is False
    worth_warning, line = access(Settings(host="0.0.0.0"))
    assert worth_warning
    assert "no key is asked for" in line
    assert "VS_HOST=0.0.0.0 is not loopback" in line


def test_with_a_file_of_keys_callers_need_one(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    assert access(Settings(host="0.0.0.0", keys_file=file)) == (False, f"callers need a key from {file}")


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


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        ({"documents": 0, "collections": []}, "the index is empty"),
        ({"documents": 1234, "collections": [{}]}, "the index holds 1,234 documents in 1 collection"),
        ({"documents": 5, "collections": [{}, {}]}, "the index holds 5 documents in 2 collections"),
    ],
)
def test_what_the_index_holds_is_told(index: dict[str, Any], expected: str) -> None:
    assert str(contents_line(index)).startswith(expected)


def test_what_only_some_shards_counted_is_not_told() -> None:
    assert contents_line({"documents": None, "documents_counted": 3, "collections": [{}]}) is None
    assert contents_line({}) is None
