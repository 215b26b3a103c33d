"""The settings of the index in any store, and of the embedded store."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from executors.settings.values import Folder, data_folder


class IndexSettings(BaseModel):
    """The store, its shards, and the graphs of the embedded store."""

    store: Literal["embedded", "opensearch"] = Field(
        "embedded", description="store of the index: `embedded` (SQLite) or `opensearch` (a cluster)"
    )
    workspace: Folder = Field(
        default_factory=lambda: data_folder() / "workspace",
        description="folder of the index, with one subfolder per shard",
    )
    allow_network_fs: Literal["on", "off"] = Field(
        "off", description="`on` accepts a workspace on a network file system, which can lose acknowledged writes"
    )
    shards: int = Field(2, ge=1, le=256, description="shards of the index")
    graph_from: int = Field(
        10_000,
        ge=100,
        description="number of documents, per collection and shard, from which a graph is built and searched",
    )
    graph_precision: Literal["half", "single"] = Field(
        "half", description="precision of the vectors in the graph: `half` (2 bytes per number) or `single` (4)"
    )
    rerank: Literal["disk", "memory"] = Field(
        "disk",
        description="where vectors are read for exact re-ranking: `disk`, or `memory` (4 more bytes per number with `half`)",
    )
