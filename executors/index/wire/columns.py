"""The envelope: columns of JSON values that travel in the field `hits` of a document, in requests, answers and reports alike."""

from __future__ import annotations

from typing import Any, TypeAlias

import orjson

from executors.documents import ImageDoc
from executors.index.records import ShardIdentity

Columns: TypeAlias = dict[str, Any]


def pack(identity: ShardIdentity | None, payload: Columns) -> bytes:
    """The columns of one shard's answer, with the shard's identity first."""
    shard = None if identity is None else [identity.index_uuid, identity.shard, identity.shards]
    return orjson.dumps({"shard": shard, **payload})


def unpack(document: ImageDoc) -> Columns:
    """The columns that `pack` made; empty if the document carries none."""
    return orjson.loads(document.hits) if document.hits else {}
