"""The request that an operation gets: it was let in, its parameters are parsed, and its documents are checked."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from executors.documents import ImageDoc
from executors.gateway.access import ANYONE, Identity

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Request(Generic[Model]):
    """Attributes:
    documents: in the caller's order; each has an id and a collection, or an error.
    parameters: an instance of the endpoint's model.
    made_ids: the ids that were made for documents without one; no other copy of these can exist.
    identity: who calls.
    """

    documents: list[ImageDoc]
    parameters: Model
    made_ids: Set[str] = frozenset()
    identity: Identity = ANYONE
