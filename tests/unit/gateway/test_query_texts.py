from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.document_checks import MAX_CHARACTERS, Takes, admit_documents, check_query_text


def code_of(**fields: Any) -> str | None:
    try:
        check_query_text(ImageDoc.from_values(**fields))
    except VisualSearchError as error:
        return error.code
    return None


@pytest.mark.parametrize("text", ["a red car", "🐈", "שלום", "a\0b", "x" * MAX_CHARACTERS, None])
def test_a_text_is_a_query(text: str | None) -> None:
    assert code_of(text=text) is None


@pytest.mark.parametrize("text", ["", " \n", "x" * (MAX_CHARACTERS + 1), "x" * 1_000_000, "half: \ud83d"])
def test_what_no_model_could_read_is_refused_at_the_door(text: str) -> None:
    assert code_of(text=text) == "invalid_text"


@pytest.mark.parametrize("picture", [{"blob": b"picture"}, {"tensor": np.zeros((1, 1, 3), np.uint8)}])
def test_a_picture_and_a_text_in_one_query_are_refused_and_a_blank_text_is_none(picture: dict[str, Any]) -> None:
    assert code_of(text="a red car", **picture) == "invalid_document"
    assert code_of(text=" ", **picture) is None


def test_beside_a_ready_vector_a_text_is_a_label() -> None:
    assert code_of(text="x" * 1_000_000, embedding=np.ones(3)) is None


def test_only_queries_are_checked_and_one_at_fault_costs_no_other() -> None:
    read = "x" * (MAX_CHARACTERS + 1)
    documents = [ImageDoc.from_values(id="a", text="red"), ImageDoc.from_values(id="b", text=read)]
    admit_documents(documents, Takes.CONTENT, collection=None)
    assert [each.error for each in documents] == [None, None]
    admit_documents(documents, Takes.QUERIES, collection=None)
    assert [each.error and each.error.code for each in documents] == [None, "invalid_text"]
