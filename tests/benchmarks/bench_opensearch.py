"""The store on OpenSearch against the bare client, and against the embedded store, with the same documents and queries.

Loading: `helpers.async_bulk` with the very sources that the store writes, made beforehand, into an index with the same
settings; both in turns, 500 a request, without a refresh. Searching: the same k-NN query by the bare client in the same index, in
turns, once merges have ended and every query was asked once. The embedded store holds the same documents in this process; it is
loaded once OpenSearch rests.

    python -m tests.benchmarks.bench_opensearch [--rows 100000] [--markdown FILE]

Without VS_OPENSEARCH_URLS an OpenSearch is put together from packages, as for `make test-services`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
from opensearchpy import AsyncOpenSearch
from opensearchpy.helpers import async_bulk

from executors.index.encoding import encode_record
from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions, collection_index, typed_fields
from executors.index.opensearch.documents.tag_fields import wanted_fields
from executors.index.opensearch.store import OpenSearchStore
from executors.index.opensearch.write.decisions import plan_put
from executors.index.records import Collection, ShardIdentity
from executors.index.store import Store
from executors.index.stores import connection_options
from executors.settings import read_settings
from tests.benchmarks.support.common import Report, anonymous_mib, percentile, report_options
from tests.benchmarks.support.embedded import (
    COLLECTION,
    MODEL,
    SHARES,
    open_store,
    put_rows,
    record,
    row_of,
    rows_of,
    search,
    settled,
    tags_of,
)
from tests.benchmarks.support.vectors import DIMENSION, Vectors, make_queries, write_vectors
from tests.support.opensearch.opensearch_index import delete_under
from tests.support.opensearch.opensearch_parts import assemble, java_home
from tests.support.opensearch.opensearch_server import OpenSearchNode
from tests.support.stores.records import where

LIMIT: Final = 20
BATCH: Final = 500
TURNS: Final = 10


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[ConnectionOptions, OpenSearchNode | None]]:
    """The reader's cluster, or a node of our own."""
    if read_settings().opensearch_urls:
        yield connection_options(read_settings()), None
        return
    folder.chmod(0o755)
    node = OpenSearchNode(assemble(folder), java_home(folder), folder / "node", heap="-Xms3g -Xmx3g")
    try:
        node.start()
        yield ConnectionOptions((node.url,), timeout_s=120), node
    finally:
        node.stop()


def fields() -> frozenset[str]:
    """The typed fields of the documents' tags."""
    return frozenset(wanted_fields(tags_of(0), frozenset()))


def sources(vectors: Vectors, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Return the documents that the store writes for these rows, with plain lists, which the bare client needs."""
    made = []
    for row in rows:
        plan = plan_put(None, encode_record(record(row, np.array(vectors[row]))), "", fields())
        assert plan.source is not None
        made.append({**plan.source, "v": plan.source["v"].tolist()})
    return made


async def load(
    options: ConnectionOptions, store: Store, prefix: str, vectors: Vectors, report: Report
) -> tuple[AsyncOpenSearch, str]:
    """Fill the store and a bare index in turns; the bare one and its name."""
    bare = AsyncOpenSearch(list(options.urls), timeout=120)
    name = f"{prefix}-c-bare"
    await bare.indices.create(index=name, body=collection_index(IndexOptions(replicas=0), "bare", MODEL, DIMENSION))
    await bare.indices.put_mapping(index=name, body=typed_fields(wanted_fields(tags_of(0), frozenset())))
    seconds = {"bare": 0.0, "store": 0.0}
    ends = np.linspace(0, len(vectors), TURNS + 1).astype(int)
    for turn, (first, end) in enumerate(pairwise(ends.tolist())):
        rows = range(first, end)
        ready = sources(vectors, rows)
        for side in ("bare", "store") if turn % 2 else ("store", "bare"):
            started = time.perf_counter()
            if side == "bare":
                actions = ({"_index": name, "_id": each["id"], "_source": each} for each in ready)
                done, failed = await async_bulk(bare, actions, chunk_size=BATCH)
                assert (done, failed) == (len(rows), [])
            else:
                for start in range(first, end, BATCH):
                    some = range(start, min(end, start + BATCH))
                    outcomes = await store.put([record(row, np.array(vectors[row])) for row in some], refresh=False)
                    assert all(outcome.error is None for outcome in outcomes)
            seconds[side] += time.perf_counter() - started
    rates = {side: len(vectors) / took for side, took in seconds.items()}
    report.table(
        f"Loading {len(vectors):,} x {DIMENSION} into OpenSearch, {BATCH} a request, in turns",
        ["", "documents/s"],
        [
            ["helpers.async_bulk with ready sources", f"{rates['bare']:,.0f}"],
            ["the store", f"{rates['store']:,.0f}"],
            ["ratio", f"{rates['store'] / rates['bare']:.2f}"],
        ],
    )
    return bare, name


async def load_embedded(store: Store, vectors: Vectors, report: Report) -> float:
    """Fill the embedded store; the memory that it took, in MiB."""
    before = anonymous_mib()
    started = time.perf_counter()
    await put_rows(store, vectors, range(len(vectors)), BATCH)
    await settled(store)
    seconds = time.perf_counter() - started
    memory = anonymous_mib() - before
    report.table(
        f"Loading the same into the embedded store, {BATCH} a request, durable, until all are in the graph",
        ["", "documents/s"],
        [["the embedded store", f"{len(vectors) / seconds:,.0f}"]],
    )
    return memory


async def searches(
    bare: AsyncOpenSearch, name: str, stores: dict[str, Store], queries: Vectors, truth: list[set[int]], report: Report
) -> None:
    """Every query by everybody, in turns."""
    took: dict[str, list[float]] = {side: [] for side in ("bare", *stores)}
    hits: dict[str, list[float]] = {side: [] for side in took}
    for number, query in enumerate([*queries, *queries]):
        body = {
            "size": LIMIT,
            "query": {"knn": {"v": {"vector": query.tolist(), "k": LIMIT, "method_parameters": {"ef_search": 128}}}},
            "_source": ["id", "version", "uri", "tags", "parent", "box", "digest", "content"],
            "track_total_hits": False,
        }
        for side in took:
            started = time.perf_counter()
            if side == "bare":
                answer = await bare.search(index=name, body=body)
                found = [row_of(hit["_source"]["id"]) for hit in answer["hits"]["hits"]]
            else:
                found = rows_of(await search(stores[side], query, LIMIT))
            if number >= len(queries):
                took[side].append((time.perf_counter() - started) * 1000)
                hits[side].append(len(set(found[:10]) & truth[number - len(queries)]) / 10)
    rows = [
        [side, percentile(took[side], 50), percentile(took[side], 99), f"{np.mean(hits[side]):.4f}"] for side in took
    ]
    gap = float(np.median(took["the store on OpenSearch"]) - np.median(took["bare"]))
    rows.append(["the store's difference to the bare client", f"{gap:+.2f}", "", ""])
    report.table(f"Search of {LIMIT} hits, one at a time, in turns", ["", "p50 ms", "p99 ms", "recall@10"], rows)


async def merged(connection: Connection, pattern: str) -> None:
    """Wait until the server merges no segments any more."""
    while True:
        stats = await connection.call("GET", f"/{pattern}/_stats/merge")
        if not stats["_all"]["total"]["merges"]["current"]:
            return
        await asyncio.sleep(1)


async def filtered(stores: dict[str, Store], vectors: Vectors, queries: Vectors, report: Report) -> None:
    """Searches of which so many match."""
    rows = []
    for tag, every in SHARES.items():
        matching = np.arange(0, len(vectors), every)
        truth = best(np.asarray(vectors[matching]), queries, 10)
        row = [f"{100 / every:g} %"]
        for store in stores.values():
            took, recall = [], []
            for query, expected in zip(queries, truth, strict=True):
                started = time.perf_counter()
                found = rows_of(await search(store, query, LIMIT, where=where({tag: 0})))
                took.append((time.perf_counter() - started) * 1000)
                recall.append(len(set(found[:10]) & {int(matching[each]) for each in expected}) / 10)
            row += [f"{np.mean(recall):.4f}", percentile(took, 50)]
        rows.append(row)
    columns = [part for side in stores for part in (f"{side}: recall@10", "p50 ms")]
    report.table("With a filter", ["matching", *columns], rows)


def best(vectors: Vectors, queries: Vectors, count: int) -> list[set[int]]:
    """The rows that are nearest to each query."""
    scores = np.asarray(queries) @ np.asarray(vectors).T
    return [set(np.argpartition(-row, count - 1)[:count].tolist()) for row in scores]


async def run(folder: Path, options: ConnectionOptions, node: OpenSearchNode | None, rows: int, report: Report) -> None:
    """Measure and print."""
    vectors, queries = write_vectors(folder / "vectors.npy", rows), make_queries(300)
    prefix = f"bench-{uuid.uuid4().hex[:8]}"
    store = OpenSearchStore(options, replace(IndexOptions(), prefix=prefix, replicas=0))
    embedded = await open_store(folder / "embedded", DIMENSION)
    try:
        await store.open()
        await store.adopt(ShardIdentity("0f" * 16, 0, 1))
        await store.ensure_collection(Collection(COLLECTION, MODEL, DIMENSION))
        bare, name = await load(options, store, prefix, vectors, report)
        connection = Connection(options)
        await connection.call("DELETE", f"/{name}", timeout_s=60)
        await connection.call("POST", f"/{prefix}-*/_refresh", timeout_s=120)
        await merged(connection, f"{prefix}-*")
        memory = await load_embedded(embedded, vectors, report)
        (index,) = await connection.call("GET", f"/{prefix}-c-{COLLECTION}-*/_alias")
        truth = best(vectors, queries, 10)
        sides: dict[str, Store] = {"the store on OpenSearch": store, "the embedded store": embedded}
        await searches(bare, index, sides, queries, truth, report)
        await filtered(sides, vectors, queries[:100], report)
        sizes = await connection.call("GET", f"/{prefix}-c-{COLLECTION}-*/_stats/store,segments")
        disk = sizes["_all"]["primaries"]["store"]["size_in_bytes"]
        status = await embedded.status()
        resident = "" if node is None else f"{node.resident_mib():,.0f} MiB (heap 3 GiB)"
        report.table(
            f"Memory and disk for {rows:,} x {DIMENSION}",
            ["", "memory", "disk, bytes a document"],
            [
                ["OpenSearch", resident, f"{disk / rows:,.0f}"],
                ["the embedded store", f"{memory:,.0f} MiB", f"{status.bytes_on_disk / rows:,.0f}"],
            ],
        )
        await bare.close()
        await connection.close()
    finally:
        await store.close()
        await embedded.close()
        await delete_under(options, prefix)


def main() -> None:
    """Measure and print."""
    options = report_options(__doc__).parse_args()
    report = Report(f"python -m tests.benchmarks.bench_opensearch --rows {options.rows}", options.markdown)
    with tempfile.TemporaryDirectory(prefix="bench-opensearch-") as name, cluster(Path(name)) as (connection, node):
        asyncio.run(run(Path(name), connection, node, options.rows, report))


if __name__ == "__main__":
    main()
