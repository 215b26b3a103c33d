from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from executors.cli import main
from executors.cli.commands import reindex_command
from executors.cli.commands.reindex_command import Graph, graphs_of
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.library_service import LibraryService, library_service
from tests.support.flows.wire_service import Fault, WireService

Output = pytest.CaptureFixture[str]


def line(
    name: str,
    in_graph: int,
    rebuilding: dict[str, int] | None = None,
    documents: int = 100,
    rebuilds: int = 0,
    failed: str | None = None,
) -> dict[str, Any]:
    return {
        "collection": name, "documents": documents, "in_graph": in_graph, "removed_in_graph": 0, "uncovered": 0,
        "rebuilding": rebuilding, "rebuilds": rebuilds, "failed": failed,
    }  # fmt: skip


def index(*shards: list[dict[str, Any]], missing: Sequence[int] = (), error: str | None = None) -> dict[str, Any]:
    """The index in the answer of `/status`, without the shards that are missing."""
    names = sorted({each["collection"] for lines in shards for each in lines})
    told = [{"shard": n, "graphs": lines} for n, lines in enumerate(shards) if n not in missing]
    report = {"shards": told, "missing": list(missing), "collections": [{"name": name} for name in names]}
    return report | ({"error": {"code": "storage_unavailable", "message": error, "details": {}}} if error else {})


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reindex_command, "_POLL_S", 0.01)
    monkeypatch.setattr(reindex_command, "_GRACE_S", 0.1)
    monkeypatch.setattr(reindex_command, "_PATIENCE_S", 0.2)


@pytest.fixture
def library() -> Iterator[LibraryService]:
    with library_service() as running:
        running.bound = {"images": ("m", 4), "few": ("m", 4)}
        yield running


def test_it_waits_until_every_graph_is_built_and_says_of_what(library: LibraryService, capsys: Output) -> None:
    few = line("few", 0, documents=3)
    library.graphs = [
        [line("images", 90), few],
        [line("images", 90, {"done": 0, "total": 100}), few],
        [line("images", 90, {"done": 60, "total": 100}), few],
        [line("images", 100, rebuilds=1), few],
    ]
    assert main(["reindex", "--url", library.url]) == 0
    assert library.requests == [("/reindex", [], {})]
    assert len(library.graphs) == 1
    shown = capsys.readouterr().out
    assert "images: graph of 100 documents rebuilt" in shown
    assert "few: 3 documents, too few for a graph" in shown


def test_one_collection_is_waited_for_alone(library: LibraryService, capsys: Output) -> None:
    images = line("images", 90, {"done": 0, "total": 100})
    library.graphs = [[images, line("few", 3)], [images, line("few", 3, rebuilds=1)]]
    assert main(["reindex", "--collection", "few", "--url", library.url, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["collections"] == [{"collection": "few", "documents": 100, "in_graph": 3}]
    assert told["failed"] == {}
    assert library.requests == [("/reindex", [], {"collection": "few"})]


def test_an_unknown_collection_is_an_error(library: LibraryService, capsys: Output) -> None:
    assert main(["reindex", "--collection", "nobody", "--url", library.url]) == 1
    assert "collection_not_found" in capsys.readouterr().err
    assert library.requests == []


def test_the_shards_of_a_collection_are_added_up() -> None:
    shards = [{"graphs": [line("a", 5, {"done": 3, "total": 10}), line("b", 1)]}, {"graphs": [line("a", 7)]}, {}]
    graphs = graphs_of({"index": {"shards": shards}}, None)
    assert graphs == {"a": Graph(200, 12, 7, True), "b": Graph(100, 1, 0, False)}
    assert graphs_of({}, None) == {}


def test_ctrl_c_ends_the_watching_and_says_that_the_work_goes_on(library: LibraryService) -> None:
    library.graphs = [[line("images", 90, {"done": n, "total": 100})] for n in range(100)]
    process = run_process("reindex", "--url", library.url)
    wait_for(lambda: len(library.graphs) < 99)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"the service continues the rebuild" in err
    assert b"Traceback" not in err


def run(service: WireService, capsys: Output, status: int) -> dict[str, Any]:
    """The output of `reindex --json`."""
    assert main(["reindex", "--url", service.url, "--json"]) == status
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


BUILDING = {"done": 10, "total": 100}


def test_a_rebuild_that_was_given_up_is_told_with_its_reason(service: WireService, capsys: Output) -> None:
    service.index_reports = [
        index([line("a", 9), line("b", 9, rebuilds=4)]),
        index([line("a", 9, BUILDING), line("b", 9, BUILDING, rebuilds=4)]),
        index([line("a", 9, failed="storage_denied:\nno"), line("b", 9, rebuilds=5)]),
    ]
    assert main(["reindex", "--url", service.url]) == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines()[-1] == "error: a: storage_denied:\\nno"
    assert "a: graph" not in shown.out
    assert "b: graph of 9 documents rebuilt" in shown.out
    assert "1 collection in" in shown.out
    assert "1 failed" in shown.out


def test_a_rebuild_that_ended_without_a_word_was_broken_off(service: WireService, capsys: Output) -> None:
    service.index_reports = [index([line("a", 9, rebuilds=2)]), index([line("a", 9, rebuilds=2)])]
    told = run(service, capsys, 1)
    assert told["failed"] == {"a": "the rebuild was aborted; the old graph stays in use"}
    assert told["collections"] == []


def test_a_shard_that_started_again_without_its_rebuild_is_no_success(service: WireService, capsys: Output) -> None:
    """Its counts begin anew."""
    service.index_reports = [
        index([line("a", 9, rebuilds=2)]),
        index([line("a", 9, BUILDING, rebuilds=2)]),
        index([line("a", 9, rebuilds=0)]),
    ]
    assert list(run(service, capsys, 1)["failed"]) == ["a"]


def test_what_a_shard_builds_after_it_started_again_counts(service: WireService, capsys: Output) -> None:
    service.index_reports = [
        index([line("a", 9, rebuilds=2)]),
        index([line("a", 9, BUILDING, rebuilds=0)]),
        index([line("a", 9, rebuilds=1)]),
    ]
    assert run(service, capsys, 0)["failed"] == {}


def test_every_shard_has_to_have_built_its_graph(service: WireService, capsys: Output) -> None:
    service.index_reports = [
        index([line("a", 9)], [line("a", 8)]),
        index([line("a", 9, rebuilds=1)], [line("a", 8, BUILDING)]),
        index([line("a", 9, rebuilds=1)], [line("a", 8)]),
    ]
    assert list(run(service, capsys, 1)["failed"]) == ["a"]


def test_a_graph_that_came_to_be_with_its_rebuild_has_to_be_built(service: WireService, capsys: Output) -> None:
    service.index_reports = [index([line("a", 0)]), index([line("a", 0, BUILDING)]), index([line("a", 0)])]
    assert list(run(service, capsys, 1)["failed"]) == ["a"]


def test_a_rebuild_that_was_refused_before_anybody_saw_it_is_told(service: WireService, capsys: Output) -> None:
    """Also that of a collection without a document, which has nothing in a graph."""
    service.index_reports = [index([line("a", 0)]), index([line("a", 0)], [line("a", 0, failed="no room")])]
    assert run(service, capsys, 1)["failed"] == {"a": "no room"}


def test_a_shard_that_is_silent_for_a_moment_is_waited_for(service: WireService, capsys: Output) -> None:
    whole = index([line("a", 9, BUILDING)], [line("a", 8, BUILDING)])
    silences: list[dict[str, Any] | Fault] = [
        index([line("a", 9, rebuilds=1)], [], missing=[1]),
        index([line("a", 9, rebuilds=1)], []),
        index(error="OpenSearch does not answer"),
        index(),
        Fault(status=503),
    ]
    service.index_reports = [index([line("a", 9)], [line("a", 8)]), whole]
    service.index_reports += [*silences, whole, *silences]
    service.index_reports += [index([line("a", 9, rebuilds=1)], [line("a", 8, rebuilds=1)])]
    told = run(service, capsys, 0)
    assert told["collections"] == [{"collection": "a", "documents": 200, "in_graph": 17}]
    assert len(service.index_reports) == 1


@pytest.mark.parametrize(
    ("silence", "reason"),
    [
        (index([line("a", 9, rebuilds=1)], [], missing=[1]), "shard_missing: shard 1 does not answer"),
        (index([line("a", 9, rebuilds=1)], []), "shard_missing: shard 1 does not answer"),
        (index(), "shard_missing: no shard answers"),
        (index(error="OpenSearch does not answer"), "storage_unavailable: OpenSearch does not answer"),
        (Fault(status=503, code="draining"), "draining: refused with 503"),
    ],
    ids=["missing", "lacking", "none", "error", "refused"],
)
def test_a_shard_that_stays_silent_is_no_success(
    service: WireService, capsys: Output, silence: dict[str, Any] | Fault, reason: str
) -> None:
    service.index_reports = [index([line("a", 9)], [line("a", 8)]), silence]
    assert main(["reindex", "--url", service.url]) == 3
    shown = capsys.readouterr()
    assert reason in shown.err
    assert shown.out == ""


def test_nothing_is_begun_while_a_shard_is_missing(service: WireService, capsys: Output) -> None:
    service.index_reports = [index([line("a", 9)], [], missing=[1])]
    assert main(["reindex", "--url", service.url]) == 3
    assert "shard 1 does not answer" in capsys.readouterr().err
    assert service.requests == []


def test_a_status_that_is_a_moment_old_is_no_failure(service: WireService, capsys: Output) -> None:
    service.index_reports = [
        index([line("a", 9, failed="the one before")]),
        index([line("a", 9, failed="the one before")]),
        index([line("a", 9, BUILDING)]),
        index([line("a", 9)]),
        index([line("a", 9, rebuilds=1)]),
    ]
    assert run(service, capsys, 0)["failed"] == {}


def test_a_collection_that_is_dropped_meanwhile_is_not_waited_for(service: WireService, capsys: Output) -> None:
    service.index_reports = [
        index([line("a", 9), line("b", 9)]),
        index([line("a", 9, BUILDING), line("b", 9, BUILDING)]),
        index([line("b", 9, rebuilds=1)]),
    ]
    told = run(service, capsys, 0)
    assert [each["collection"] for each in told["collections"]] == ["b"]
    assert told["failed"] == {}


def test_the_one_collection_that_was_asked_for_and_is_dropped_is_an_error(
    library: LibraryService, capsys: Output
) -> None:
    library.graphs = [[line("images", 9)], [line("images", 9, BUILDING)], []]
    assert main(["reindex", "--collection", "images", "--url", library.url]) == 1
    assert "collection_not_found: 'images' was dropped" in capsys.readouterr().err
