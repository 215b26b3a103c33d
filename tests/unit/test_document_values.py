"""The rules for the fields of a document that no test of documents or of the gateway's checks covers."""

from __future__ import annotations

import pytest

from executors.document_values import MAX_COLLECTION_LENGTH, is_collection_name


@pytest.mark.parametrize("name", ["images", "a", "-", "_", ".a", "a.", "A-1_b.c", "x" * MAX_COLLECTION_LENGTH])
def test_letters_digits_dots_dashes_and_underscores_name_a_collection(name: str) -> None:
    assert is_collection_name(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "." * 128, "a b", "a/b", "a\n", "ä", "٣", "x" * (MAX_COLLECTION_LENGTH + 1)]
)
def test_other_names_are_none(name: str) -> None:
    assert not is_collection_name(name)
