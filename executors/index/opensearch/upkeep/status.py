"""The status report of the index on OpenSearch."""

from __future__ import annotations

from collections.abc import Sequence

from executors.index.opensearch.cluster import layout
from executors.index.opensearch.cluster.catalog import Catalog, Entry, index_lost
from executors.index.opensearch.cluster.connection import Connection
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.search import queries
from executors.index.opensearch.search.reading import Reader
from executors.index.opensearch.upkeep.rebuild import ABANDONED_MS
from executors.index.records import StoreStatus


async def status_of(
    entries: Sequence[Entry],
    connection: Connection,
    catalog: Catalog,
    reader: Reader,
    options: IndexOptions,
    format_version: int,
    now_ms: int,
) -> StoreStatus:
    """See `Store.status`; `details` report on the cluster, and on rebuilds, whichever process runs them."""
    behind = await catalog.behind()
    live = [(each, each.collection, each.alias) for each in entries if each.collection and each.alias]
    counts = await reader.counts([alias for _, _, alias in live], queries.LIVE)
    # The shards of an index that is just being made do not answer yet.
    copied = await reader.counts([each.building or "-" for each, _, _ in live], queries.LIVE, whole=False)
    # These are asked for by name, for the same reason.
    names = [layout.removed_alias(options.prefix), *(alias for _, _, alias in live if alias in behind)]
    # Collections that are being dropped now are not counted as missing.
    unreadable = {
        each.name: str(index_lost(each.name))
        for each, _, alias in live
        if alias not in behind and (await catalog.entry(each.name, fresh=True)).alias == alias
    }
    newest = await reader.newest(names, {"match_all": {}}, 0, 1)
    versions = [hit["_source"]["version"] for hit in newest] + [each.dropped for each in entries]
    stats = await connection.call("GET", f"/{options.prefix}-*/_stats/store")
    health = await connection.call("GET", "/_cluster/health")
    details = {
        "store": "opensearch",
        "cluster": {
            "name": health["cluster_name"],
            "status": health["status"],
            "nodes": health["number_of_data_nodes"],
        },
        "engine": options.engine,
        "graphs": [
            {
                "collection": each.name,
                "documents": count,
                "in_graph": count,
                "rebuilding": {"done": done, "total": count}
                if each.building and now_ms < each.beat + ABANDONED_MS
                else None,
                "rebuilds": layout.generation_of(behind[alias], alias) - 1 if alias in behind else 0,
                "failed": unreadable.get(each.name, each.failed),
            }
            for (each, _, alias), count, done in zip(live, counts, copied, strict=True)
        ],
    }
    return StoreStatus(
        catalog.identity,
        format_version,
        max(versions, default=""),
        [(collection, count) for (_, collection, _), count in zip(live, counts, strict=True)],
        int(stats["_all"]["total"]["store"]["size_in_bytes"]),
        details,
        unreadable,
    )
