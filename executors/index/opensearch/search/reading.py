"""Reads without ranking: pages in id order, counts, the newest versions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

import orjson

from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import Connection, IndexGoneError
from executors.index.opensearch.search.queries import Query

Hit = dict[str, Any]
_PAGE: Final = 1_000
_LARGEST_PAGE: Final = 10_000


def check_whole(answer: Mapping[str, Any]) -> None:
    """Refuse an answer if some of OpenSearch's shards are missing from it.

    Raises:
        VisualSearchError: `shard_missing`.
    """
    answered, total = shards_of(answer)
    if answered < total:
        raise VisualSearchError(
            "shard_missing", f"{answered} of {total} shards of OpenSearch answered", answered=answered, total=total
        )


def shards_of(answer: Mapping[str, Any]) -> tuple[int, int]:
    """How many shards of OpenSearch gave a whole answer, and how many there are."""
    shards = answer["_shards"]
    answered, total = int(shards["successful"]), int(shards["total"])
    # OpenSearch does not report which shards ran out of time.
    return (min(answered, total - 1), total) if answer.get("timed_out") or shards.get("failed") else (answered, total)


async def read_by_id(connection: Connection, docs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The result of `_mget` for each of `docs`; it also sees writes that searches do not see yet.

    Raises:
        IndexGoneError: an index does not exist.
        VisualSearchError: `storage_unavailable`.
    """

    async def send(left_s: float) -> Any:
        return await connection.call("POST", "/_mget", {"docs": docs}, timeout_s=left_s)

    found: list[dict[str, Any]] = (await connection.call_whole(send, lambda answer: answer["docs"]))["docs"]
    for each in found:
        error = each.get("error")
        if error is not None and error.get("type") == "index_not_found_exception":
            raise IndexGoneError(str(error.get("reason")))
        if error is not None:
            raise VisualSearchError("storage_unavailable", "OpenSearch can't read a document", reason=error.get("type"))
    return found


class Reader:
    """Reads the documents behind an alias."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def refresh(self, alias: str) -> None:
        """Make writes without a refresh visible to searches.

        Raises:
            VisualSearchError: `shard_missing` while OpenSearch waits for a shard to come back; `storage_unavailable`.
        """
        try:
            answer = await self._connection.call("POST", f"/{alias}/_refresh", timeout_s=self._connection.timeout_s / 2)
        except VisualSearchError as error:
            if error.code == "storage_unavailable":
                await self._check_shards(alias)
            raise
        if answer["_shards"]["failed"]:
            check_whole(answer)

    async def _check_shards(self, alias: str) -> None:
        health = await self._connection.call("GET", f"/_cluster/health/{alias}", params={"level": "indices"})
        total = sum(int(each["number_of_shards"]) for each in health["indices"].values())
        active = int(health["active_primary_shards"])
        check_whole({"_shards": {"successful": active, "total": total}})

    async def page(
        self, alias: str, query: Query, fields: Sequence[str] | None, after: str = "", limit: int = _PAGE
    ) -> list[Hit]:
        """The next documents in the order of their ids, with their place; fewer than `limit` only at the end.

        Raises:
            IndexGoneError, VisualSearchError: see `Connection.call`; `shard_missing`.
        """
        hits: list[Hit] = []
        while len(hits) < limit:
            wanted = min(limit - len(hits), _LARGEST_PAGE)
            body = {
                "size": wanted,
                "query": query,
                "sort": [{"id": "asc"}],
                "_source": True if fields is None else list(fields),
                "seq_no_primary_term": True,
                "track_total_hits": False,
            }
            last = hits[-1]["sort"] if hits else [after]
            if last != [""]:
                body["search_after"] = last
            answer = await self._connection.call("POST", f"/{alias}/_search", body)
            check_whole(answer)
            found = answer["hits"]["hits"]
            hits += found
            if len(found) < wanted:
                break
        return hits

    async def random(self, alias: str, query: Query, fields: Sequence[str], limit: int) -> list[Hit]:
        """Random documents that match, each as likely as any other; at most 10,000."""
        body = {
            "size": min(limit, _LARGEST_PAGE),
            "query": {"function_score": {"query": query, "random_score": {}, "boost_mode": "replace"}},
            "_source": list(fields),
            "track_total_hits": False,
        }
        answer = await self._connection.call("POST", f"/{alias}/_search", body)
        check_whole(answer)
        return list(answer["hits"]["hits"])

    async def scan(
        self, alias: str, query: Query, fields: Sequence[str] | None, size: int = _PAGE
    ) -> AsyncIterator[list[Hit]]:
        """All documents in the order of their ids, a page at a time."""
        after = ""
        while True:
            hits = await self.page(alias, query, fields, after, size)
            if hits:
                yield hits
                after = hits[-1]["sort"][0]
            if len(hits) < size:
                return

    async def count(self, alias: str, query: Query, *, whole: bool = True) -> int:
        """How many documents match; without `whole`, in the shards that answer."""
        answer = await self._connection.call("POST", f"/{alias}/_count", {"query": query})
        if whole:
            check_whole(answer)
        return int(answer["count"])

    async def counts(self, aliases: Sequence[str], query: Query, *, whole: bool = True) -> list[int]:
        """How many documents match behind each alias; 0 if there is none. Without `whole`, in the shards that answer."""
        if not aliases:
            return []
        body = {"size": 0, "track_total_hits": True, "query": query}
        answers = await self.search_each([(alias, body) for alias in aliases])
        for answer in answers:
            if whole and "error" not in answer:
                check_whole(answer)
        return [0 if "error" in each else int(each["hits"]["total"]["value"]) for each in answers]

    async def search_each(self, searches: Sequence[tuple[str, Query]]) -> list[dict[str, Any]]:
        """Several searches in one request; the answer of each may be an `error`."""
        lines = [
            orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)
            for alias, body in searches
            for part in ({"index": alias}, body)
        ]

        async def send(left_s: float) -> Any:
            return await self._connection.send_lines("/_msearch", lines, timeout_s=left_s)

        answer = await self._connection.call_whole(send, lambda given: given["responses"])
        return list(answer["responses"])

    async def newest(self, names: Sequence[str], query: Query, start: int, size: int) -> list[Hit]:
        """Documents of several indices by version, the newest first."""
        body = {
            "from": start,
            "size": size,
            "query": query,
            "sort": [_sorted_by("version", "desc"), _sorted_by("id", "asc")],
            "_source": ["id", "version", "digest"],
            "track_total_hits": False,
        }
        answer = await self._connection.call("POST", f"/{','.join(names)}/_search", body)
        check_whole(answer)
        return list(answer["hits"]["hits"])


def _sorted_by(field: str, order: str) -> Query:
    return {field: {"order": order, "unmapped_type": "keyword"}}
