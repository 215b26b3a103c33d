"""The keys of a running gateway: a change of the file takes effect, and a broken one does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.keys.key import Key, digest_of
from executors.keys.key_file import add_key, remove_key
from executors.keys.key_ring import KeyRing


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "keys.toml"
    add_key(made, Key("shop", digest_of("secret"), "search"))
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(file: Path, clock: Clock) -> KeyRing:
    return KeyRing(file, clock)


def test_a_secret_finds_its_key_and_the_use_is_noted(ring: KeyRing) -> None:
    found = ring.find("secret")
    assert found is not None
    assert found.name == "shop"
    assert list(ring.used) == ["shop"]
    assert ring.find("another") is None
    assert ring.find("") is None
    assert ring.find("\udcff") is None


def test_a_new_and_a_revoked_key_take_effect_after_a_second(ring: KeyRing, file: Path, clock: Clock) -> None:
    add_key(file, Key("import", digest_of("other"), "write"))
    remove_key(file, "shop")
    assert ring.find("secret") is not None
    clock.now = 1.5
    assert ring.find("secret") is None
    assert ring.find("other") is not None


def test_a_broken_file_leaves_the_last_good_keys_and_is_reported(ring: KeyRing, file: Path, clock: Clock) -> None:
    good = file.read_text()
    file.write_text("[keys.shop]\n")
    clock.now = 2.0
    assert ring.find("secret") is not None
    assert "keys.shop.sha256" in str(ring.problem)
    file.unlink()
    clock.now = 4.0
    assert ring.find("secret") is not None
    assert ring.problem is not None
    file.write_text(good)
    clock.now = 6.0
    assert ring.find("secret") is not None
    assert ring.problem is None


def test_a_file_that_is_broken_at_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VisualSearchError) as caught:
        KeyRing(tmp_path / "missing.toml")
    assert caught.value.code == "unreadable_file"


def test_gateways_with_the_same_file_sign_alike_and_accept_what_was_signed_before_a_change(
    ring: KeyRing, file: Path, clock: Clock
) -> None:
    before = ring.signing_keys[0]
    assert KeyRing(file).signing_keys == [before]
    add_key(file, Key("import", digest_of("other"), "write"))
    clock.now = 2.0
    assert ring.signing_keys[0] != before
    assert ring.signing_keys[1] == before
