"""Drops of collections: writes are held up, newer documents decide, and tombstones are carried over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.catalog import Catalog
from executors.index.opensearch.cluster.connection import IndexGoneError
from executors.index.opensearch.search.queries import LIVE, newer_than
from executors.index.opensearch.search.reading import Reader
from executors.index.opensearch.upkeep.rebuild import Rebuild
from executors.index.opensearch.write.conditional_writes import Target
from executors.index.opensearch.write.orphan_tombstones import Attic
from executors.index.opensearch.write.removal import Removal


async def drop(
    name: str,
    version: str,
    catalog: Catalog,
    reader: Reader,
    rebuild: Rebuild,
    removal: Removal,
    attic: Attic,
    now_ms: Callable[[], int],
) -> int | None:
    """See `Store.drop_collection`."""
    while True:
        entry = await rebuild.recover(await catalog.entry(name, fresh=True))
        if version <= entry.dropped:
            # Executed again, or too late: documents created since are kept.
            return 0 if version == entry.dropped else None
        if entry.alias is None:
            if await catalog.change(entry, dropped=version) is not None:
                return None
            continue
        try:
            await catalog.check_there(entry)
        except VisualSearchError as error:
            if error.code != "store_invalid":
                raise
            # Another program has deleted its documents and its tombstones.
            if await catalog.change(entry, collection=None, alias=None, building=None, beat=0, dropped=version):
                return 0
            continue
        # A writer that meets the block sees by this that the block is temporary.
        begun = await catalog.change(entry, beat=now_ms())
        if begun is None:
            continue
        try:
            (index,) = await catalog.indices_of(entry.alias)
            await rebuild.block(index, True)
            await reader.refresh(entry.alias)
            if await reader.count(entry.alias, {"bool": {"filter": [LIVE, newer_than(version)]}}):
                kept = await catalog.change(begun, dropped=version, beat=0)
                await rebuild.block(index, False)
                if kept is not None:
                    return await removal.delete_older(Target(entry.alias, entry.building), version)
                continue
            documents = await reader.count(entry.alias, LIVE)
            await attic.keep(name, entry.alias, version)
            gone = await catalog.change(begun, collection=None, alias=None, building=None, beat=0, dropped=version)
        except BaseException:
            with suppress(VisualSearchError, IndexGoneError):
                left = await catalog.entry(name, fresh=True)
                await rebuild.give_up(left, left.failed)
            raise
        if gone is None:
            await rebuild.block(index, False)
            continue
        for alias in (entry.alias, entry.building):
            if alias is not None:
                with suppress(IndexGoneError):
                    await catalog.delete_indices(alias)
        return documents
