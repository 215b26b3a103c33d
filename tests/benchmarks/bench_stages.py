"""Ready vectors through the flow: what a search and a write take, stage by stage, beside the same calls on a store alone.

`/search` and `/index` are asked over HTTP one at a time, with `explain`: shown are the time that the caller sees, the
`took_ms` of the answer, and within it what the slowest shard says of its plan. The other side is the embedded store in this
process with the documents of one shard: what is left to the flow is moving, dividing and merging. With `--opensearch` both
sides have theirs in OpenSearch (see bench_opensearch), where the flow has one shard.

    python -m tests.benchmarks.bench_stages [--rows 100000] [--shards 2 | --opensearch] [--markdown FILE]
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import requests
from docarray import DocList
from jina import Client

from executors.documents import ImageDoc
from executors.index.embedded.store import EmbeddedStore
from executors.index.opensearch.cluster.connection import ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.opensearch.store import OpenSearchStore
from executors.index.records import Collection, ShardIdentity
from executors.index.store import Store
from tests.benchmarks.bench_opensearch import cluster
from tests.benchmarks.support.common import Report, percentile, report_options
from tests.benchmarks.support.embedded import COLLECTION as ALONE
from tests.benchmarks.support.embedded import MODEL, name_of, open_store, put_rows, record, search, settled, tags_of
from tests.benchmarks.support.flow_documents import find, wait_for_graphs
from tests.benchmarks.support.vectors import DIMENSION, Vectors, make_queries, write_vectors
from tests.support.flows.flow import FLOW, OPENSEARCH_FLOW, RunningFlow, running_flow
from tests.support.opensearch.opensearch_index import delete_now

COLLECTION = "bench"
PREFIX = f"bench-{uuid.uuid4().hex[:8]}"
Times = dict[str, list[float]]


def fill(port: int, vectors: Vectors) -> float:
    """Index ready vectors over gRPC, 256 a request; documents a second."""
    documents = (
        ImageDoc(id=name_of(row), embedding=np.array(vector), tags=tags_of(row), model_id=MODEL)
        for row, vector in enumerate(vectors)
    )
    started = time.perf_counter()
    answers = Client(port=port, protocol="grpc").post(
        "/index", documents, return_type=DocList[ImageDoc], parameters={"collection": COLLECTION}, request_size=256
    )
    assert all(answer.error is None for answer in answers)
    return len(vectors) / (time.perf_counter() - started)


def ask(session: requests.Session, url: str, body: dict[str, Any], times: Times) -> dict[str, Any]:
    """One request: what the caller sees, and the stages."""
    started = time.perf_counter()
    answer = session.post(url, json=body, timeout=60)
    times.setdefault("caller", []).append((time.perf_counter() - started) * 1000)
    assert answer.status_code == 200, answer.text
    parameters: dict[str, Any] = answer.json()["parameters"]
    assert not parameters["failed"], answer.text
    for stage, milliseconds in parameters["took_ms"].items():
        times.setdefault(stage, []).append(milliseconds)
    return parameters


def searches(flow: RunningFlow, queries: Vectors, times: Times) -> None:
    """Search with each vector; the plan of the slowest shard counts."""
    session = requests.Session()
    for number, query in enumerate([*queries[:20], *queries]):
        if number == 20:
            times.clear()
        body = {
            "data": [{"embedding": query.tolist(), "model_id": MODEL}],
            "parameters": {"collection": COLLECTION, "limit": 20, "explain": True},
        }
        parameters = ask(session, f"{flow.http_url}/search", body, times)
        parts = [plan["took_ms"] for plan in find(parameters["explain"], "plan")]
        slowest = max(parts, key=lambda part: sum(part.values()))
        for part, milliseconds in (slowest | {"all": sum(slowest.values())}).items():
            times.setdefault(f"plan: {part}", []).append(milliseconds)


def writes(flow: RunningFlow, vectors: Vectors, first: int, batch: int, count: int, times: Times) -> None:
    """Write so many requests of new documents."""
    session = requests.Session()
    for number in range(count + 3):
        if number == 3:
            times.clear()
        rows = range(first + number * batch, first + (number + 1) * batch)
        data = [
            {
                "id": name_of(row),
                "embedding": vectors[row % len(vectors)].tolist(),
                "tags": tags_of(row),
                "model_id": MODEL,
            }
            for row in rows
        ]
        ask(session, f"{flow.http_url}/index", {"data": data, "parameters": {"collection": COLLECTION}}, times)


async def embedded(folder: Path) -> Store:
    """The other side: an embedded store."""
    return await open_store(folder, DIMENSION)


async def on_opensearch(options: ConnectionOptions) -> Store:
    """The other side: a store on OpenSearch, under a prefix of its own."""
    store = OpenSearchStore(options, IndexOptions(prefix=f"{PREFIX}-alone", replicas=0))
    await store.open()
    await store.adopt(ShardIdentity("0f" * 16, 0, 1))
    await store.ensure_collection(Collection(ALONE, MODEL, DIMENSION))
    return store


async def alone(
    open_it: Callable[[], Awaitable[Store]], vectors: Vectors, queries: Vectors, batches: list[int], count: int
) -> dict[str, Times]:
    """The same on a store of this process."""
    store = await open_it()
    await put_rows(store, vectors, range(len(vectors)))
    if isinstance(store, EmbeddedStore):
        await settled(store)
    times: dict[str, Times] = {"search": {"store alone": []}}
    for query in [*queries[:20], *queries]:
        started = time.perf_counter()
        await search(store, query, 20)
        times["search"]["store alone"].append((time.perf_counter() - started) * 1000)
    del times["search"]["store alone"][:20]
    first = len(vectors)
    for batch in batches:
        took = times[f"index {batch}"] = {"store alone": []}
        for _ in range(count):
            records = [record(row, np.array(vectors[row % len(vectors)])) for row in range(first, first + batch)]
            started = time.perf_counter()
            outcomes = await store.put(records)
            took["store alone"].append((time.perf_counter() - started) * 1000)
            assert all(outcome.result == "created" for outcome in outcomes)
            first += batch
    await store.close()
    return times


def table(report: Report, title: str, times: Times) -> None:
    """The stages of one kind of request, with their share of what the caller sees."""
    whole = float(np.median(times["caller"]))
    rows = [
        [stage, percentile(took, 50), percentile(took, 99), f"{100 * float(np.median(took)) / whole:.0f} %"]
        for stage, took in times.items()
    ]
    report.table(title, ["", "p50 ms", "p99 ms", "of the caller's"], rows)


def variables_for(connection: ConnectionOptions) -> dict[str, str]:
    """Return the settings that tell the flow where OpenSearch is."""
    return {
        "VS_OPENSEARCH_URLS": ",".join(connection.urls),
        "VS_OPENSEARCH_PREFIX": f"{PREFIX}-flow",
        "VS_OPENSEARCH_REPLICAS": "0",
    }


def main() -> None:
    """Measure and print."""
    parser = report_options(__doc__)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--writes", type=int, default=50, help="requests of each size")
    parser.add_argument("--opensearch", action="store_true", help="the index on OpenSearch")
    options = parser.parse_args()
    kind_of_store = " --opensearch" if options.opensearch else ""
    report = Report(f"python -m tests.benchmarks.bench_stages --rows {options.rows}{kind_of_store}", options.markdown)
    batches = [1, 32]
    shards = 1 if options.opensearch else options.shards
    with tempfile.TemporaryDirectory(prefix="bench-stages-") as name, ExitStack() as stack:
        folder = Path(name)
        open_it: Callable[[], Awaitable[Store]] = partial(embedded, folder / "store")
        flow_file, environment = FLOW, {}
        if options.opensearch:
            connection, _ = stack.enter_context(cluster(folder))
            stack.callback(delete_now, connection, PREFIX)
            open_it = partial(on_opensearch, connection)
            flow_file, environment = OPENSEARCH_FLOW, variables_for(connection)
        vectors = write_vectors(folder / "vectors.npy", options.rows)
        queries = make_queries(options.searches)
        kinds = ["search", *(f"index {batch}" for batch in batches)]
        times: dict[str, Times] = {kind: {} for kind in kinds}
        with running_flow(folder / "flow", shards, flow_file, **environment) as flow:
            rate = fill(flow.grpc_port, vectors)
            if not options.opensearch:
                wait_for_graphs(flow.http_url)
            searches(flow, queries, times["search"])
            first = options.rows
            for batch in batches:
                writes(flow, vectors, first, batch, options.writes, times[f"index {batch}"])
                first += batch * (options.writes + 3)
        of_store = asyncio.run(alone(open_it, vectors[: options.rows // shards], queries, batches, options.writes))
    for kind, stages in times.items():
        stages.update(of_store[kind])
        title = "One search" if kind == "search" else f"One /index of {kind.split()[1]} ready vectors"
        table(report, f"{title} over HTTP beside {options.rows:,} x {DIMENSION} in {shards} shards", stages)
    print(f"loaded over gRPC at {rate:,.0f} documents/s")


if __name__ == "__main__":
    main()
