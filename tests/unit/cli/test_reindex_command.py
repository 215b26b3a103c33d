from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from executors.cli import main, reindex_command
from executors.cli.reindex_command import Graph, graphs_of
from tests.support.commands import run_process, wait_for
from tests.support.library_service import LibraryService, library_service

Output = pytest.CaptureFixture[str]


def line(name: str, in_graph: int, rebuilding: dict[str, int] | None = None, documents: int = 100) -> dict[str, Any]:
    return {
        "collection": name, "documents": documents, "in_graph": in_graph, "removed_in_graph": 0, "uncovered": 0,
        "rebuilding": rebuilding,
    }  # fmt: skip


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[LibraryService]:
    monkeypatch.setattr(reindex_command, "_POLL_S", 0.01)
    with library_service() as running:
        running.bound = {"images": ("m", 4), "few": ("m", 4)}
        yield running


def test_it_waits_until_every_graph_is_built_and_says_of_what(service: LibraryService, capsys: Output) -> None:
    few = line("few", 0, documents=3)
    service.graphs = [
        [line("images", 90, {"done": 0, "total": 100}), few],
        [line("images", 90, {"done": 60, "total": 100}), few],
        [line("images", 100), few],
    ]
    assert main(["reindex", "--url", service.url]) == 0
    assert service.requests == [("/reindex", [], {})]
    assert len(service.graphs) == 1
    shown = capsys.readouterr().out
    assert "images: graph of 100 documents built anew" in shown
    assert "few: 3 documents, compared one by one" in shown


def test_one_collection_is_waited_for_alone(service: LibraryService, capsys: Output) -> None:
    service.graphs = [[line("images", 90, {"done": 0, "total": 100}), line("few", 3)]]
    assert main(["reindex", "--collection", "few", "--url", service.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["collections"] == [
        {"collection": "few", "documents": 100, "in_graph": 3}
    ]
    assert service.requests == [("/reindex", [], {"collection": "few"})]


def test_an_unknown_collection_is_an_error(service: LibraryService, capsys: Output) -> None:
    assert main(["reindex", "--collection", "nobody", "--url", service.url]) == 1
    assert "collection_not_found" in capsys.readouterr().err
    assert service.requests == []


def test_the_shards_of_a_collection_are_added_up() -> None:
    shards = [{"graphs": [line("a", 5, {"done": 3, "total": 10}), line("b", 1)]}, {"graphs": [line("a", 7)]}, {}]
    graphs = graphs_of({"index": {"shards": shards}}, None)
    assert graphs == {"a": Graph(200, 12, 7, True), "b": Graph(100, 1, 0, False)}
    assert graphs_of({}, None) == {}


def test_ctrl_c_ends_the_watching_and_says_that_the_work_goes_on(service: LibraryService) -> None:
    service.graphs = [[line("images", 90, {"done": n, "total": 100})] for n in range(100)]
    process = run_process("reindex", "--url", service.url)
    wait_for(lambda: len(service.graphs) < 99)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"the service goes on with it" in err
    assert b"Traceback" not in err
