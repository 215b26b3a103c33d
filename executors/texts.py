"""Queries in words: when a document is one, how long it may be, and what to say where the model can't read."""

from __future__ import annotations

from typing import Final

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.models.spec import ModelSpec

# No text tower takes more than some hundred tokens. What is longer is not worth the way to the tokenizer.
MAX_CHARACTERS: Final = 8_000


def check_query_text(document: ImageDoc) -> None:
    """Check the `text` of a document of `/search` or `/embed`.

    A ready embedding is the query whatever else the document holds: a text is its label then, as a picture is. A blank
    text beside a picture is none.

    Raises:
        VisualSearchError: `invalid_document` for a picture and a text in one document: which of them is meant? Or
            `invalid_text` for one that is blank, too long, or not Unicode.
    """
    text = document.text
    if text is None or document.embedding is not None:
        return
    blank = not text.strip()
    if document.blob or document.tensor is not None:
        if blank:
            return
        message = "a query is a picture or a `text`, not both; send two documents"
        raise VisualSearchError("invalid_document", message, fields=["blob" if document.blob else "tensor", "text"])
    if blank:
        raise VisualSearchError("invalid_text", "`text` is empty")
    if len(text) > MAX_CHARACTERS:
        message = f"`text` has {len(text)} characters; at most {MAX_CHARACTERS}"
        raise VisualSearchError("invalid_text", message, characters=len(text), limit=MAX_CHARACTERS)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise VisualSearchError("invalid_text", "`text` is not valid Unicode") from None


def text_not_supported(spec: ModelSpec) -> VisualSearchError:
    """What a query in words gets from a model without a text tower."""
    message = f"the model {spec.name!r} only takes pictures; `visual-search models list` shows which take texts"
    return VisualSearchError("text_not_supported", message, model=spec.name)
