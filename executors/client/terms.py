"""The terms of a search that combines several queries into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from executors.client.requests import Document


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a search: exactly one of `like`, `text`, `embedding` and `blob`.

    Attributes:
        like: the id of an indexed document.
        text: words; the service's model must have a text tower.
        embedding: a vector of D numbers.
        blob: the bytes of a picture.
        weight: from -1.5 to 1.5 and not 0; the search leads away from a term with a negative weight.

    Raises:
        ValueError: none of them is given, or more than one.
        VisualSearchError: as `Document` raises it.
    """

    like: str | None = None
    text: str | None = None
    embedding: Sequence[float] | None = None
    blob: bytes | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.like, self.text, self.embedding, self.blob)) != 1:
            raise ValueError("a term has exactly one of like, text, embedding and blob")
        Document(id=self.like, text=self.text, embedding=self.embedding, blob=self.blob)


def encode_terms(terms: Sequence[Term]) -> tuple[list[Document], list[dict[str, Any]]]:
    """The documents of a request and its parameter `terms`: texts, pictures and vectors travel as documents."""
    documents: list[Document] = []
    encoded: list[dict[str, Any]] = []
    for term in terms:
        if term.like is not None:
            encoded.append({"like": term.like, "weight": term.weight})
        else:
            encoded.append({"data": len(documents), "weight": term.weight})
            documents.append(Document(text=term.text, embedding=term.embedding, blob=term.blob))
    return documents, encoded
