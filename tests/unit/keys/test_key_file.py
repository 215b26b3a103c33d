"""The file of keys: what it says, what is refused with its place, and that nothing of it is lost when a key comes or goes."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.keys.key import Key, digest_of, new_secret
from executors.keys.key_file import add_key, check_name, parse_keys, read_keys, remove_key
from executors.keys.limits import Limits

DIGEST = "a" * 64
OTHER = "b" * 64


def refused(text: str) -> str:
    with pytest.raises(VisualSearchError) as caught:
        parse_keys(text)
    assert caught.value.code == "invalid_keys"
    return caught.value.message


def test_a_secret_has_256_bits_and_is_not_in_the_file(tmp_path: Path) -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(each) for each in secrets} == {46}
    (secret,) = list(secrets)[:1]
    add_key(tmp_path / "keys.toml", Key("shop", digest_of(secret), "search"))
    assert secret not in (tmp_path / "keys.toml").read_text()


def test_what_was_added_is_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    first = Key("shop", DIGEST, "search", frozenset({"b", "a"}), "2026-12-01T12:00:00+00:00")
    second = Key("admin-1", OTHER, "admin", limits=Limits(requests_per_second=0.5, bytes_in_flight=10_000_000))
    add_key(file, first)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    add_key(file, second)
    assert read_keys(file) == {"shop": first, "admin-1": second}


def test_a_mode_that_the_operator_chose_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text("")
    file.chmod(0o640)
    add_key(file, Key("shop", DIGEST, "search"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


@pytest.mark.parametrize("header", ["[keys.shop]", '[keys."shop"]', "  [ keys.shop ]  # the shop"])
def test_a_revoked_key_is_gone_and_comments_elsewhere_stay(tmp_path: Path, header: str) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(
        f'# ours\n{header}\nsha256 = "{DIGEST}"\nrole = "write"\n\n[keys.shop-2]\n# keep\nsha256 = "{OTHER}"\nrole = "search"\n'
    )
    remove_key(file, "shop")
    assert list(read_keys(file)) == ["shop-2"]
    assert "# ours" in file.read_text()
    assert "# keep" in file.read_text()


def test_a_key_that_can_not_be_cut_out_is_left_to_the_operator(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    text = f'keys = {{shop = {{sha256 = "{DIGEST}", role = "search"}}}}\n'
    file.write_text(text)
    with pytest.raises(VisualSearchError, match="by hand"):
        remove_key(file, "shop")
    assert file.read_text() == text


def test_a_name_is_given_once_and_only_a_known_one_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    add_key(file, Key("shop", DIGEST, "search"))
    with pytest.raises(VisualSearchError, match=r"keys\.shop: there is a key"):
        add_key(file, Key("shop", OTHER, "search"))
    with pytest.raises(VisualSearchError, match=r"keys\.other: there is no key"):
        remove_key(file, "other")


@pytest.mark.parametrize("name", ["", "a b", "ä", "a" * 65, "a.b"])
def test_some_names_are_refused(name: str) -> None:
    with pytest.raises(VisualSearchError):
        check_name(name)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[keys", "it is not TOML"),
        ("[key.shop]", "the file: unknown name 'key'"),
        ("keys = 1", "keys: must be tables"),
        ("[keys]\nshop = 1", "keys.shop: must be a table"),
        ('[keys."a b"]', "keys.a b: a name has"),
        ("[keys.shop]", "keys.shop.sha256: "),
        (f'[keys.shop]\nsha256 = "{DIGEST.upper()}"', "keys.shop.sha256: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"', "keys.shop.role: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "root"', "keys.shop.role: "),
        (
            f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\ncollection = "a"',
            "keys.shop: unknown name 'collection'",
        ),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\ncollections = []', "keys.shop.collections: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\ncollections = ["a b"]', "keys.shop.collections: 'a b'"),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\ncollections = "a"', "keys.shop.collections: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\ncreated = "now"', "keys.shop.created: "),
        (
            f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\nrequests_per_second = 0',
            "keys.shop.requests_per_second: ",
        ),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\nbytes_in_flight = 1.5', "keys.shop.bytes_in_flight: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\npixels_in_flight = true', "keys.shop.pixels_in_flight: "),
        (f'[keys.shop]\nsha256 = "{DIGEST}"\nrole = "search"\nrequests_per_second = inf', "keys.shop.requests_per_"),
        (
            f'[keys.a]\nsha256 = "{DIGEST}"\nrole = "search"\n[keys.b]\nsha256 = "{DIGEST}"\nrole = "admin"',
            "keys.b.sha256: is also that of keys.a",
        ),
    ],
)
def test_a_fault_is_refused_with_its_place(text: str, place: str) -> None:
    assert refused(text).startswith(place)


def test_keys_that_are_made_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    keys = [Key(f"key-{number}", digest_of(str(number)), "search") for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: add_key(file, key), keys))
    assert read_keys(file) == {key.name: key for key in keys}


def test_a_file_that_can_not_be_read_or_written_is_named(tmp_path: Path) -> None:
    for work in (
        lambda: read_keys(tmp_path / "missing.toml"),
        lambda: read_keys(tmp_path),
        lambda: add_key(tmp_path / "no" / "keys.toml", Key("shop", DIGEST, "search")),
    ):
        with pytest.raises(VisualSearchError) as caught:
            work()
        assert caught.value.code == "unreadable_file"
        assert str(tmp_path) in caught.value.message
