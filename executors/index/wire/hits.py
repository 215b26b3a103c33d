"""Hits as JSON columns, packed by a shard and read again by the gateway. Pure."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.index.records import Hits
from executors.index.tag_values import cut_tags

# The fields of a hit that a client may choose, and the column of each. Ids and scores are always sent; the merge needs
# versions.
FIELDS: Final = {"uri": "uris", "tags": "tags", "parent": "parents", "box": "boxes"}
TAG_PREFIX: Final = "tags."
HIT_COLUMNS: Final = ("ids", "scores", "versions", "uris", "tags", "parents", "boxes", "groups", "embeddings")
_LITTLE_ENDIAN: Final = np.dtype("<f4")


def hits_to_columns(hits: Hits, fields: Sequence[str] | None = None, *, explain: bool = False) -> dict[str, Any]:
    """The columns of one query's hits, ready for `pack`.

    Args:
        fields: names of `FIELDS`, or `tags.` and a tag's path; None for all.
        explain: the plan of the search, too.
    """
    columns: dict[str, Any] = {"ids": list(hits.ids), "scores": list(hits.scores), "versions": list(hits.versions)}
    paths = [each.removeprefix(TAG_PREFIX) for each in fields or () if each.startswith(TAG_PREFIX)]
    for field, name in FIELDS.items():
        if fields is None or field in fields:
            columns[name] = list(getattr(hits, name))
    if paths and "tags" not in columns:
        columns["tags"] = [cut_tags(tags, paths) for tags in hits.tags]
    if hits.groups is not None:
        columns["groups"] = list(hits.groups)
    if hits.embeddings is not None:
        columns["embeddings"] = [encode_vector(each) for each in hits.embeddings]
    if hits.partial is not None:
        columns["partial"] = list(hits.partial)
    if explain:
        columns["plan"] = hits.plan
    return columns


def encode_vector(vector: NDArray[np.float32]) -> str:
    """A vector as text that is exact and short: base64 of its numbers as little-endian float32."""
    return base64.b64encode(np.asarray(vector).astype(_LITTLE_ENDIAN).tobytes()).decode()


def decode_vector(text: str) -> NDArray[np.float32]:
    """The vector that `encode_vector` wrote."""
    return np.frombuffer(base64.b64decode(text), dtype=_LITTLE_ENDIAN).astype(np.float32)
