"""Documents of a benchmark in a flow: ready vectors as the rows of a matrix, until all of them are in the graphs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import requests

from executors.documents import ImageDoc
from tests.benchmarks.support.callers import GrpcCaller, grpc_documents, grpc_message
from tests.benchmarks.support.embedded import name_of, tags_of
from tests.benchmarks.support.vectors import Vectors

_AT_ONCE = 256


def fill(port: int, vectors: Vectors) -> None:
    """Index the rows with the ids, tags and labels that `embedded.record` gives them, in the default collection."""
    caller = GrpcCaller(port)
    for start in range(0, len(vectors), _AT_ONCE):
        documents = [
            ImageDoc(
                id=name_of(row),
                embedding=np.array(vectors[row]),
                tags=tags_of(row),
                uri=f"https://shop.test/{row}.jpg",
            )
            for row in range(start, min(start + _AT_ONCE, len(vectors)))
        ]
        answered = grpc_documents(caller.post(grpc_message("/index", documents, {})))
        assert all(each.error is None for each in answered), next(each.error for each in answered if each.error)
    caller.close()


def wait_for_graphs(url: str) -> None:
    """Wait until every shard that has a graph has everything in it; few documents need none."""
    while True:
        status = requests.get(f"{url}/status", timeout=60).json()
        graphs = list(find(status, "uncovered"))
        if graphs and not any(each["rebuilding"] or (each["in_graph"] and each["uncovered"]) for each in graphs):
            return
        time.sleep(0.5)


def find(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """Yield every object within a JSON value that has that key."""
    if isinstance(value, dict):
        if key in value:
            yield value
        for each in value.values():
            yield from find(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from find(each, key)
