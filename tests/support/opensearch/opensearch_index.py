"""Indices of the OpenSearch store for tests: each under a prefix of its own, deleted at the end."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import Any

from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions, IndexGoneError
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.store import OpenSearchStore
from executors.index.store import Store


class Indices:
    """One index, opened again and again; see `tests.support.stores.records.Harness`.

    Args:
        connection: to the cluster.
        options: of `OpenSearchStore`; `index` are `IndexOptions`.
    """

    def __init__(self, connection: ConnectionOptions, index: IndexOptions | None = None, **options: Any) -> None:
        self.connection = connection
        self.index = replace(index or IndexOptions(), prefix=f"test-{uuid.uuid4().hex[:12]}", replicas=0)
        self._options = options
        self._opened: list[OpenSearchStore] = []

    @property
    def prefix(self) -> str:
        return self.index.prefix

    async def open(self) -> Store:
        store = OpenSearchStore(self.connection, self.index, **self._options)
        await store.open()
        self._opened.append(store)
        return store

    async def settle(self, store: Store) -> None:
        assert isinstance(store, OpenSearchStore)
        # Wait for the store's background work.
        await asyncio.gather(*store._tasks, return_exceptions=True)

    async def close(self) -> None:
        """Close what is open, and delete everything under the prefix."""
        for store in self._opened:
            await store.close()
        await delete_under(self.connection, self.prefix)


async def delete_under(options: ConnectionOptions, prefix: str) -> None:
    """Delete the indices whose names begin so."""
    connection = Connection(options)
    try:
        for name in await connection.call("GET", f"/{prefix}-*/_alias"):
            await connection.call("DELETE", f"/{name}", timeout_s=30)
    except IndexGoneError:
        pass
    finally:
        await connection.close()


def delete_now(options: ConnectionOptions, prefix: str) -> None:
    """The same, from where no event loop runs."""
    asyncio.run(delete_under(options, prefix))


async def mapping_of(ask: Connection, indices: Indices) -> dict[str, Any]:
    """The mapping of the collection of images."""
    (found,) = (await ask.call("GET", f"/{indices.prefix}-c-images-*/_mapping")).values()
    mapping: dict[str, Any] = found["mappings"]
    return mapping
