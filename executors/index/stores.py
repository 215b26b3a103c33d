"""The one place that chooses a store."""

from __future__ import annotations

from pathlib import Path

from executors.index.store import Store


def make_store(kind: str, folder: Path) -> Store:
    """The store of that kind, not yet opened; `folder` is this shard's own."""
    if kind == "embedded":
        from executors.index.embedded.store import EmbeddedStore

        return EmbeddedStore(folder)
    raise ValueError(f"no store of kind {kind!r}")
