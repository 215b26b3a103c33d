"""Signatures of addresses: each is worth something for one document until one moment, and for nothing else."""

from __future__ import annotations

import pytest

from executors.keys.signatures import is_signed, sign

KEY = b"k" * 32


def test_a_signature_is_accepted_with_any_of_the_keys() -> None:
    made = sign(KEY, "images", "a/ä b.jpg", 1_000)
    assert is_signed([b"other", KEY], made, "images", "a/ä b.jpg", 1_000)


@pytest.mark.parametrize(
    ("collection", "document_id", "expires", "key"),
    [
        ("images", "b", 1_000, KEY),
        ("other", "a", 1_000, KEY),
        ("images", "a", 1_001, KEY),
        ("images", "a", 1_000, b"x"),
    ],
)
def test_anything_else_is_refused(collection: str, document_id: str, expires: int, key: bytes) -> None:
    made = sign(KEY, "images", "a", 1_000)
    assert not is_signed([key], made, collection, document_id, expires)


@pytest.mark.parametrize("given", ["", "x", "ä", "\udcff"])
def test_what_is_no_signature_is_refused(given: str) -> None:
    assert not is_signed([KEY], given, "images", "a", 1_000)


def test_fields_can_not_be_shifted_into_each_other() -> None:
    assert sign(KEY, "ab", "c", 1) != sign(KEY, "a", "bc", 1)
