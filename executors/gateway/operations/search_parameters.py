"""Selects the parameters of a search that the shards need, and collects how each shard searched. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from executors.documents import ImageDoc
from executors.gateway.parameters import SearchParameters
from executors.index.wire.columns import unpack

_NOT_SENT: Final = {"like", "exclude_self", "allow_partial", "threshold", "score_min", "terms", "weights"}


def shard_parameters(given: SearchParameters) -> dict[str, Any]:
    """Return the parameters of a search that the stages need; those that are not set are left out."""
    chosen = given.model_dump(exclude=_NOT_SENT, exclude_none=True, by_alias=True, mode="json")
    sent = {name: value for name, value in chosen.items() if value or name not in ("exact", "explain", "with")}
    if given.floor is not None:
        sent["threshold"] = given.floor
    if given.exclude_self:
        sent["without"] = list(given.liked)
    return sent


def account_of_plans(documents: Sequence[ImageDoc]) -> list[dict[str, Any]]:
    """Return for each query how each shard searched."""
    return [{"shards": unpack(document).get("plans", [])} for document in documents]
