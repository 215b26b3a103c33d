"""The last writes of an index, the newest first; see `Store.recent`."""

from __future__ import annotations

from executors.index.opensearch.cluster.catalog import Catalog
from executors.index.opensearch.search.queries import LIVE
from executors.index.opensearch.search.reading import Reader
from executors.index.records import NEWEST, DocumentKey, RecentWrites


async def recent_writes(catalog: Catalog, reader: Reader, since: str, before: int, limit: int) -> RecentWrites:
    """See `Store.recent`; `before` is how many of the newest ones were read."""
    start = 0 if before == NEWEST else before
    entries = await catalog.entries()
    behind = await catalog.behind()
    names = {behind[each.alias]: each.name for each in entries if each.alias in behind}
    query = {"bool": {"filter": [LIVE, {"range": {"version": {"gte": since}}}]}}
    hits = await reader.newest(list(names), query, start, max(0, limit)) if names else []
    sources = [(names[hit["_index"]], hit["_source"]) for hit in hits]
    dropped = [each for each in entries if each.dropped and each.dropped >= since]
    return RecentWrites(
        [DocumentKey(name, each["id"], each["version"]) for name, each in sources],
        [each["digest"] for _, each in sources],
        start + limit if hits and len(hits) == limit else None,
        [(each.name, each.dropped) for each in sorted(dropped, key=lambda each: each.dropped)]
        if before == NEWEST
        else [],
    )
