"""The flow over a real OpenSearch, as a user has it: the same requests and answers as over the embedded index."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from executors.client import Document, VisualSearchClient
from executors.index.opensearch.cluster.connection import ConnectionOptions
from tests.support.flows.commands import run_process
from tests.support.flows.flow import FLOW, OPENSEARCH_FLOW, RunningFlow, running_flow, start_flow, stop_flow
from tests.support.opensearch.opensearch_index import delete_now
from tests.support.pictures.pictures import encode, scene

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]
PICTURES = 8
VECTORS = 600


@pytest.fixture(scope="module")
def clustered(
    opensearch: ConnectionOptions, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningFlow]:
    """The flow as `jina flow --uses flows/image-search-opensearch.yml` starts it, with two replicas of the index."""
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    with running_flow(
        tmp_path_factory.mktemp("opensearch-flow"),
        flow=OPENSEARCH_FLOW,
        VS_OPENSEARCH_URLS=",".join(opensearch.urls),
        VS_OPENSEARCH_PREFIX=prefix,
        VS_OPENSEARCH_REPLICAS="0",
        VS_INDEX_REPLICAS="2",
    ) as flow:
        yield flow
    delete_now(opensearch, prefix)
    assert "Traceback" not in flow.log
    assert "Unclosed" not in flow.log


def post(flow: RunningFlow, path: str, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = requests.post(f"{flow.http_url}{path}", json=body, timeout=60).json()
    return answer


def index_pictures(flow: RunningFlow, collection: str) -> None:
    async def send() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            pictures = [
                Document(id=f"{n}.jpg", blob=encode(scene(n)), tags={"n": n, "odd": bool(n % 2), "label": f"l{n % 3}"})
                for n in range(PICTURES)
            ]
            assert (await client.index(pictures, collection=collection)).failed == 0

    asyncio.run(send())


def index_vectors(flow: RunningFlow, collection: str) -> None:
    rng = np.random.default_rng(5)

    def vector(n: int) -> Document:
        return Document(
            id=f"{'é' if n % 3 else 'z'}{n:05}",
            model_id="ours@1",
            embedding=rng.standard_normal(32).tolist(),
            tags={"n": n, "large": 2**53, "list": [None, True, 0.1, "ü"], "deep": {"a": []}} if n % 2 else {},
            uri=f"label {n}",
            parent="é00001" if n % 10 == 9 else None,
            box=[0.5, 1, 2.25, 3] if n % 10 == 9 else None,
            text="what was read" if n % 7 == 0 else None,
            thumbnail=b"\xff\xd8\xff" + bytes([n % 256]) * 50 if n % 5 == 0 else None,
        )

    async def send() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            await client.create_collection(collection, model_id="ours@1", dimension=32)
            assert (await client.index([vector(n) for n in range(VECTORS)], collection=collection)).failed == 0

    asyncio.run(send())


def answers_of(flow: RunningFlow, collection: str) -> list[Any]:
    """Return the answers about a collection of pictures that a user sees, without times and versions."""
    base = {"collection": collection}
    searches = [
        {"like": "3.jpg", "limit": 5, **base},
        {"like": "3.jpg", "limit": 5, "filter": {"odd": True}, **base},
        {"like": "3.jpg", "limit": 2, "group_by": "label", "fields": ["tags.label"], **base},
        {"like": "0.jpg", "limit": 5, "threshold": 0.5, "exact": True, **base},
        {"like": "0.jpg", "limit": 2, "offset": 2, "with": ["embedding"], **base},
        {"like": "0.jpg", "limit": 3, "score_min": -0.5, "score_max": 0.9, **base},
        {"terms": [{"like": "0.jpg"}, {"like": "3.jpg", "weight": -0.5}], "exclude_self": True, "limit": 4, **base},
    ]
    shown: list[Any] = []
    for parameters in searches:
        matches = post(flow, "/search", parameters=parameters)["data"][0]["matches"]
        shown.append(
            [{key: value for key, value in match.items() if key not in ("score", "version")} for match in matches]
        )
        shown.append([round(match["score"], 5) for match in matches])
    shown.append(post(flow, "/count", parameters={"filter": {"n": {"$gte": 3}}, **base})["parameters"]["count"])
    facets = {"paths": ["label", "odd", "n", "nothing"], "filter": {"label": "l1", "n": {"$gte": 2}}, "limit": 3}
    counted = post(flow, "/facets", parameters=facets | base)["parameters"]
    shown += [counted["count"], counted["facets"]]
    return shown


def test_requests_are_answered_like_by_the_embedded_index(clustered: RunningFlow, flow: RunningFlow) -> None:
    for each in (clustered, flow):
        index_pictures(each, "same")
    assert answers_of(clustered, "same") == answers_of(flow, "same")
    for each in (clustered, flow):
        data = [{"id": "3.jpg", "tags": {"label": None, "seen": 2}}, {"id": "nobody", "tags": {}}]
        updated = post(each, "/update", data=data, parameters={"collection": "same"})["data"]
        assert [document["result"] for document in updated] == ["updated", "not_found"]
        assert (
            post(each, "/delete", parameters={"collection": "same", "filter": {"n": {"$lt": 2}}})["parameters"][
                "deleted"
            ]
            == 2
        )
        assert post(each, "/count", parameters={"collection": "same"})["parameters"]["count"] == PICTURES - 2
    kept = [post(each, "/get", data=[{"id": "3.jpg"}], parameters={"collection": "same"}) for each in (clustered, flow)]
    assert kept[0]["data"][0]["tags"] == kept[1]["data"][0]["tags"] == {"n": 3, "odd": True, "seen": 2}
    for each in (clustered, flow):
        assert requests.delete(f"{each.http_url}/collections/same", timeout=30).status_code == 200
        assert post(each, "/count", parameters={"collection": "same"})["error"]["code"] == "collection_not_found"


def test_the_quality_of_searches_is_measured_by_exact_scores(clustered: RunningFlow) -> None:
    vectors = np.random.default_rng(3).standard_normal((60, 4)).tolist()
    data = [{"id": f"{n}", "model_id": "ours@1", "embedding": vector} for n, vector in enumerate(vectors)]
    post(clustered, "/index", data=data, parameters={"collection": "measured"})
    given = {"collection": "measured", "sample": 20, "k": 5}
    (report,) = post(clustered, "/quality", parameters=given)["collections"]
    assert (report["documents"], report["queries"]) == (60, 20)
    assert report["precision"] == {"mean": 1.0, "lowest": 1.0, "all_found": 1.0}


def test_bulk_loads_without_refresh_are_counted_at_once(clustered: RunningFlow) -> None:
    data = [{"id": f"{n}", "model_id": "ours@1", "embedding": [float(n), 1.0]} for n in range(50)]
    answer = post(clustered, "/index", data=data, parameters={"collection": "bulk", "refresh": False})
    assert [document["error"] for document in answer["data"]] == [None] * 50
    assert post(clustered, "/count", parameters={"collection": "bulk"})["parameters"]["count"] == 50


def test_a_library_moves_between_the_stores_in_both_directions_to_the_bit(
    clustered: RunningFlow, flow: RunningFlow, tmp_path: Path
) -> None:
    def run(on: RunningFlow, *arguments: str) -> str:
        environment = {**os.environ, "VS_HTTP_PORT": str(on.http_port), "XDG_DATA_HOME": str(tmp_path / "data")}
        out, err = run_process(*arguments, env=environment).communicate(timeout=120)
        assert b"Traceback" not in err, err.decode()
        return out.decode()

    def documents_of(path: Path) -> dict[str, dict[str, Any]]:
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        return {line["id"]: line for line in lines if "id" in line}

    files = [tmp_path / f"{n}.ndjson" for n in range(3)]
    index_vectors(flow, "moved")
    run(flow, "export", str(files[0]), "--collection", "moved")
    assert f"{VECTORS:,} documents" in run(clustered, "import", str(files[0]))
    run(clustered, "export", str(files[1]), "--collection", "moved")
    requests.delete(f"{flow.http_url}/collections/moved", timeout=30)
    run(flow, "import", str(files[1]))
    run(flow, "export", str(files[2]), "--collection", "moved")
    exported = [documents_of(path) for path in files]
    assert len(exported[0]) == VECTORS
    assert exported[0] == exported[1] == exported[2]
    assert "unchanged" in run(clustered, "import", str(files[2]))
    assert (
        run(clustered, "count", "--collection", "moved", "--filter", '{"deep.a": {"$exists": true}}')
        == f"{VECTORS // 2}\n"
    )
    assert ", 0 faults" in run(clustered, "verify")
    for each in (clustered, flow):
        requests.delete(f"{each.http_url}/collections/moved", timeout=30)


def test_a_rebuild_loses_nothing_while_writes_and_searches_go_on(clustered: RunningFlow) -> None:
    index_vectors(clustered, "rebuilt")
    assert post(clustered, "/reindex", parameters={"collection": "rebuilt"}).get("error") is None
    written = 0
    rebuilding = True
    while rebuilding or written < 30:
        data = [{"id": f"new {written}", "model_id": "ours@1", "embedding": [1.0, *[0.0] * 30, float(written)]}]
        (document,) = post(clustered, "/index", data=data, parameters={"collection": "rebuilt"})["data"]
        assert document["error"] is None
        written += 1
        found = post(clustered, "/search", data=data, parameters={"collection": "rebuilt", "limit": 1})
        assert found["data"][0]["matches"][0]["score"] > 0.999
        (report,) = requests.get(f"{clustered.http_url}/status", timeout=30).json()["index"]["shards"]
        (graph,) = [each for each in report["graphs"] if each["collection"] == "rebuilt"]
        rebuilding = graph["rebuilding"] is not None
        assert graph["failed"] is None
    assert post(clustered, "/count", parameters={"collection": "rebuilt"})["parameters"]["count"] == VECTORS + written
    requests.delete(f"{clustered.http_url}/collections/rebuilt", timeout=30)


def test_a_collection_whose_index_was_deleted_is_named_and_costs_no_other(
    clustered: RunningFlow, opensearch: ConnectionOptions
) -> None:
    data = [{"id": "a", "model_id": "ours@1", "embedding": [1.0, 2.0]}]
    for name in ("whole", "lost"):
        created = {"model_id": "ours@1", "dimension": 2}
        assert requests.put(f"{clustered.http_url}/collections/{name}", json=created, timeout=30).ok
        assert post(clustered, "/index", data=data, parameters={"collection": name})["data"][0]["result"] == "created"
    delete_now(opensearch, f"{clustered.environment['VS_OPENSEARCH_PREFIX']}-c-lost")

    answer = post(clustered, "/search", parameters={"collection": "lost", "like": "a"})
    assert answer["error"]["code"] == "store_invalid"
    listed = requests.get(f"{clustered.http_url}/collections", timeout=30).json()["collections"]
    assert {each["name"]: "gone" in each.get("error", "") for each in listed if each["name"] in ("whole", "lost")} == {
        "whole": False,
        "lost": True,
    }
    assert requests.get(f"{clustered.http_url}/health/full", timeout=30).ok
    for command in (["collections"], ["status"], ["verify"], ["reindex", "--collection", "lost"]):
        out, err = run_process(*command, "--url", clustered.http_url).communicate(timeout=60)
        assert b"the index of the collection 'lost' is gone" in out + err, command
        assert b"Traceback" not in err
    written = post(clustered, "/index", data=[data[0] | {"id": "b"}], parameters={"collection": "whole"})
    assert written["data"][0]["result"] == "created"
    assert requests.delete(f"{clustered.http_url}/collections/lost", timeout=30).ok
    assert post(clustered, "/count", parameters={"collection": "lost"})["error"]["code"] == "collection_not_found"


def test_a_replica_of_the_index_may_die(clustered: RunningFlow) -> None:
    index_pictures(clustered, "survives")
    pids = clustered.pids_of("index")
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    for n in range(6):
        data = [{"id": f"after {n}", "model_id": "ours@1", "embedding": [float(n), 1.0]}]
        assert post(clustered, "/index", data=data, parameters={"collection": "after"})["data"][0]["error"] is None
        matches = post(clustered, "/search", parameters={"collection": "survives", "like": "3.jpg"})["data"][0][
            "matches"
        ]
        assert matches[0]["id"] == "3.jpg"


def test_shards_of_the_flow_are_refused(opensearch: ConnectionOptions, tmp_path: Path) -> None:
    flow = start_flow(
        tmp_path, FLOW, VS_STORE="opensearch", VS_SHARDS="2", VS_OPENSEARCH_URLS=",".join(opensearch.urls)
    )
    try:
        assert flow.process.wait(90) == 1
        assert "OpenSearch shards by itself" in flow.log
        assert "Traceback" not in flow.log
        assert "Unclosed" not in flow.log
    finally:
        stop_flow(flow)


def test_a_flow_without_its_cluster_says_so_and_ends(tmp_path: Path) -> None:
    flow = start_flow(
        tmp_path, OPENSEARCH_FLOW, VS_OPENSEARCH_URLS="http://127.0.0.1:9", VS_OPENSEARCH_TIMEOUT_MS="1000"
    )
    try:
        assert flow.process.wait(90) == 1
        assert "storage_unavailable: OpenSearch can't be reached" in flow.log
        assert "Traceback" not in flow.log
        assert "Unclosed" not in flow.log
    finally:
        stop_flow(flow)
