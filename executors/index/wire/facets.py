"""Facets between the shards and the gateway: each shard's counts as bytes, which only the gateway reads. Pure.

A shard sends the counts of all values, because a value that is rare in one shard may be frequent in the others. That may
be megabytes, so that the merge only puts them side by side, and the gateway adds them up beside its event loop.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from executors.documents import ImageDoc
from executors.index.facets import Tally, order_of
from executors.index.filters import Scalar
from executors.index.records import FacetCounts
from executors.index.wire.columns import Columns, unpack
from executors.index.wire.merge import refusal


@dataclass(frozen=True, slots=True)
class PackedFacets:
    """The counts of one shard.

    Attributes:
        columns: `count`, the number of documents that match, and `sizes`, the length of `content` as a list.
        content: the counts as JSON: for each path, its values and the number of documents of each.
    """

    columns: Columns
    content: bytes


def pack_facets(counts: FacetCounts) -> PackedFacets:
    """Pack the counts of one shard."""
    content = orjson.dumps([[[value for value, _ in path], [count for _, count in path]] for path in counts.counts])
    return PackedFacets({"count": counts.total, "sizes": [len(content)]}, content)


def merge_facets(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The counts of all shards, side by side; an error only if all of them gave one."""
    failures = [answer.error for answer in answers if answer.error]
    if len(failures) == len(answers):
        return refusal(answers[0], failures[0])
    merged = {
        "count": sum(each.get("count", 0) for each in columns),
        "sizes": [size for each in columns for size in each.get("sizes", ())],
    }
    content = b"".join(answer.blob or b"" for answer in answers)
    return ImageDoc.from_values(id=answers[0].id, hits=orjson.dumps(merged), blob=content or None)


def total_of(merged: ImageDoc) -> int:
    """How many documents match in all shards."""
    return int(unpack(merged)["count"])


def top_values(merged: ImageDoc, paths: Sequence[str], limit: int) -> list[dict[str, Any]]:
    """Add up the counts of all shards.

    Returns:
        For each path, its `limit` most frequent values (ties: null, booleans, numbers, texts, each in their order), and
        how many `more` there are.

    Raises:
        VisualSearchError: `too_many_values`.
    """
    tallies = [Tally(path) for path in paths]
    content, start = memoryview(merged.blob or b""), 0
    for size in unpack(merged)["sizes"]:
        for tally, (values, counts) in zip(tallies, orjson.loads(content[start : start + size]), strict=True):
            for value, count in zip(values, counts, strict=True):
                tally.add(value, count)
        start += size
    return [
        {
            "path": path,
            "values": [{"value": value, "count": count} for value, count in _most_frequent(tally, limit)],
            "more": max(0, len(tally) - limit),
        }
        for path, tally in zip(paths, tallies, strict=True)
    ]


def _most_frequent(tally: Tally, limit: int) -> list[tuple[Scalar, int]]:
    return heapq.nsmallest(limit, tally.pairs(), key=lambda pair: (-pair[1], *order_of(pair[0])))
