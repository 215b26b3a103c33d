"""The facts that a shard's file keeps about itself: counters, identity, collections."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executors.errors import VisualSearchError
from executors.index.records import Collection, ShardIdentity


@dataclass(frozen=True, slots=True)
class KnownCollection:
    """A collection and its number in the tables."""

    number: int
    collection: Collection


def read_meta(connection: sqlite3.Connection) -> dict[str, Any]:
    """The counters and the identity.

    Raises:
        VisualSearchError: `store_invalid` if one is missing.
    """
    meta = dict(connection.execute("SELECT key, value FROM meta"))
    missing = {"format_version", "store_id", "sequence", "next_row", "last_version", "populated"} - meta.keys()
    if missing:
        raise VisualSearchError("store_invalid", f"the shard's file lacks {', '.join(sorted(missing))}")
    return meta


def identity_of(meta: Mapping[str, Any]) -> ShardIdentity | None:
    """The identity of this shard, as its file records it."""
    if "index_uuid" not in meta:
        return None
    return ShardIdentity(meta["index_uuid"], meta["shard"], meta["shards"], bool(meta["populated"]))


def read_collections(connection: sqlite3.Connection) -> dict[str, KnownCollection]:
    """All collections by name."""
    rows = connection.execute(
        "SELECT number, name, model_id, dimension FROM collections WHERE dropped_version IS NULL ORDER BY name"
    )
    return {
        name: KnownCollection(number, Collection(name, model, dimension)) for number, name, model, dimension in rows
    }


def dropped_collections(connection: sqlite3.Connection) -> list[int]:
    """Numbers of the collections whose documents still have to be removed."""
    return [row[0] for row in connection.execute("SELECT number FROM collections WHERE dropped_version IS NOT NULL")]


def free_pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """How many pages of the file are free, and how many there are."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return int(free), int(connection.execute("PRAGMA page_count").fetchone()[0])


def new_epoch() -> str:
    """A unique name for this run of the process."""
    return secrets.token_hex(8)
