"""Families of metrics of a status report: bounded, complete, and tolerant of what a report lacks."""

from __future__ import annotations

from typing import Any

from executors.gateway.metrics.reports import MOST_COLLECTIONS, families_of


def samples(report: dict[str, Any]) -> list[tuple[str, dict[str, str], float]]:
    return [(each.name, each.labels, each.value) for family in families_of(report) for each in family.samples]


def graph(collection: str, documents: int) -> dict[str, Any]:
    return {"collection": collection, "documents": documents, "in_graph": documents, "rebuilds": 1, "rebuilding": None}


def test_collections_beyond_a_hundred_are_one() -> None:
    names = [f"c{number:03}" for number in range(250)]
    index = {
        "collections": [{"name": name} for name in names],
        "shards": [{"shard": 0, "graphs": [graph(name, 2) for name in names]}],
    }
    found = [each for each in samples({"index": index}) if each[0] == "visual_search_documents"]
    assert len(found) == MOST_COLLECTIONS + 1
    assert {labels["collection"]: value for _, labels, value in found}["other"] == 2 * (250 - MOST_COLLECTIONS)
    assert sum(value for *_, value in found) == 500


def test_each_name_and_set_of_labels_stands_once() -> None:
    report = {
        "stages": {"embed": {"replicas": [{"replica": f"embed/rep-{n}", "images": n} for n in range(3)]}},
        "index": {
            "collections": [{"name": "a"}],
            "shards": [{"shard": n, "graphs": [graph("a", 1)]} for n in range(3)],
        },
    }
    found = [(name, tuple(sorted(labels.items()))) for name, labels, _ in samples(report)]
    assert len(found) == len(set(found))
    assert len([each for each in found if each[0] == "visual_search_embed_inputs_total"]) == 3


def test_a_triton_server_is_shown_with_its_breaker() -> None:
    endpoint = {"url": "triton:8001", "models": {"m": {"state": "broken"}}, "retries": 3}
    found = samples({"stages": {"embed": {"replicas": [{"replica": "embed/rep-0", "endpoints": [endpoint]}]}}})
    labels = {"replica": "embed/rep-0", "server": "triton:8001"}
    assert ("visual_search_triton_usable", labels | {"model": "m"}, 0.0) in found
    assert ("visual_search_triton_retries_total", labels, 3.0) in found


def test_an_empty_report_is_no_fault() -> None:
    assert [name for name, *_ in samples({})] == [
        "visual_search_up",
        "visual_search_collections",
        "visual_search_build_info",
    ]
