"""A request as an operation gets it: let in, with its parameters parsed and its documents checked."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from executors.documents import ImageDoc

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Request(Generic[Model]):
    """Attributes:
    documents: in the caller's order; each has an id and a collection, or an error.
    parameters: the endpoint's model.
    made_ids: ids that were made for documents without one, so no other copy of them can exist.
    """

    documents: list[ImageDoc]
    parameters: Model
    made_ids: Set[str] = frozenset()
