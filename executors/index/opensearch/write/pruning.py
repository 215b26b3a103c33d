"""Pruning: old tombstones are removed, since no write arrives that late."""

from __future__ import annotations

from contextlib import suppress

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster import layout
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError
from executors.index.opensearch.search.queries import GONE


async def prune(connection: Connection, prefix: str, before_ms: int) -> None:
    """Remove tombstones from before that time (milliseconds since 1970); failures are tried again the next time."""
    names = f"{layout.collection_pattern(prefix)},{layout.removed_alias(prefix)}"
    body = {"query": {"bool": {"filter": [GONE, {"range": {"removed_at": {"lt": before_ms}}}]}}}
    # A tombstone that is written in the meantime stays.
    params = {"conflicts": "proceed", "wait_for_completion": "false"}
    with suppress(VisualSearchError, IndexGoneError):
        await connection.call("POST", f"/{names}/_delete_by_query", body, params=params)
