"""Documents that bring a vector of their own: what is checked about it, in the stage that embeds or already in the gateway."""

from __future__ import annotations

from executors.documents import Failure, ImageDoc
from executors.embed.vectors import check_embedding
from executors.errors import as_error

STAGE = "embed"


def is_ready(document: ImageDoc) -> bool:
    """Whether the document has a vector and nothing beside it that a stage would have to decode."""
    return document.embedding is not None and document.blob is None and document.tensor is None


def check_ready(document: ImageDoc, model_id: str, dimension: int) -> None:
    """Check the vector that a document brings, and scale it to unit length; it counts as the flow's model's by default.

    A fault becomes the error of the document.

    Args:
        document: one with an `embedding` of D numbers.
        model_id: the model of the flow.
        dimension: D of that model.
    """
    document.put(model_id=document.model_id or model_id)
    try:
        vector = check_embedding(document.embedding, dimension if document.model_id == model_id else None)
        document.put(embedding=vector)
    except Exception as error:
        document.error = document.error or Failure.of(as_error(error, STAGE), STAGE)
