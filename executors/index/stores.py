"""The one place that chooses a store."""

from __future__ import annotations

from pathlib import Path

from executors.cores import available_cores
from executors.index.store import Store
from executors.settings import Settings


def make_store(chosen: Settings, folder: Path) -> Store:
    """The store that the settings name, not yet opened; `folder` is this shard's own."""
    # Imported here: the other store needs nothing of this one's packages.
    from executors.index.embedded.collection_memory import GraphOptions
    from executors.index.embedded.store import EmbeddedStore

    cores = available_cores()
    options = GraphOptions(
        graph_from=chosen.graph_from,
        precision=chosen.graph_precision,
        rerank=chosen.rerank,
        # A rebuild leaves half of the cores to everything else.
        threads=max(1, cores // 2),
    )
    return EmbeddedStore(folder, search_threads=chosen.threads or cores, graph=options)
