"""`get`, `delete`, `status` and `verify`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli import main
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def indexed(service: WireService) -> WireService:
    service.documents["images", "a.jpg"] = {"id": "a.jpg", "uri": "label", "tags": {"größe": 1}}
    return service


def test_get_shows_what_is_there_and_says_what_is_not(indexed: WireService, capsys: Output) -> None:
    assert main(["get", "a.jpg", "b.jpg", "--url", indexed.url]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "a.jpg"
    assert '  tags       {"größe": 1}' in shown
    assert shown[-2:] == ["b.jpg", "  not_found: no document 'b.jpg'"]


def test_get_as_json(indexed: WireService, capsys: Output) -> None:
    assert main(["get", "a.jpg", "a.jpg", "--url", indexed.url, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert (document["id"], document["uri"], document["tags"]) == ("a.jpg", "label", {"größe": 1})
    assert document["error"] is None


def test_many_ids_go_in_several_requests(indexed: WireService) -> None:
    assert main(["get", *(str(n) for n in range(2500)), "--url", indexed.url]) == 1
    assert [len(documents) for _, documents, _ in indexed.requests] == [1000, 1000, 500]


def test_delete_removes_and_counts(indexed: WireService, capsys: Output) -> None:
    assert main(["delete", "a.jpg", "b.jpg", "--url", indexed.url]) == 1
    shown = capsys.readouterr().out
    assert "1 document deleted, 1 not" in shown
    assert "b.jpg" in shown
    assert indexed.documents == {}


def test_what_was_deleted_is_sent_again_by_the_next_index(
    service: WireService, make_files: MakeFiles, capsys: Output
) -> None:
    folder = str(make_files("a.jpg", "b.jpg"))
    assert main(["index", folder, "--url", service.url]) == 0
    assert main(["delete", "a.jpg", "--url", service.url]) == 0
    assert main(["index", folder, "--url", service.url]) == 0
    assert "1 created, 1 skipped" in capsys.readouterr().out
    assert sorted(id_ for _, id_ in service.documents) == ["a.jpg", "b.jpg"]


def test_an_id_that_is_not_unicode_is_an_error(indexed: WireService, capsys: Output) -> None:
    assert main(["get", "caf\udce9", "--url", indexed.url]) == 1
    assert "invalid_id" in capsys.readouterr().err


def test_status_for_people_and_for_programs(indexed: WireService, capsys: Output) -> None:
    assert main(["status", "--url", indexed.url]) == 0
    shown = capsys.readouterr().out
    for part in (indexed.url, "ready", "tiny@1, dimension 3", "index-1, 1 document", "1,234"):
        assert part in shown
    assert main(["status", "--url", indexed.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["index"]["uuid"] == "index-1"


def test_a_service_that_is_not_ready_has_exit_status_3(service: WireService, capsys: Output) -> None:
    service.ready = False
    assert main(["status", "--url", service.url]) == 3
    assert "not ready (a stage is starting)" in capsys.readouterr().out


def test_status_names_the_shards_that_do_not_answer_and_ends_with_3(service: WireService, capsys: Output) -> None:
    service.missing_shards = [1, 3]
    assert main(["status", "--url", service.url]) == 3
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "answer" in line] == ["shard 1 does not answer", "shard 3 does not answer"]
    assert main(["status", "--url", service.url, "--json"]) == 3


def test_status_names_the_stage_that_does_not_answer_and_ends_with_3(service: WireService, capsys: Output) -> None:
    service.stages = {"preprocess": {"backend": "x"}, "embed": {"error": {"code": "unavailable", "message": "gone"}}}
    assert main(["status", "--url", service.url]) == 3
    assert "embed does not answer: unavailable: gone" in capsys.readouterr().out
    service.stages = {"preprocess": {"error": None}, "embed": {}}
    assert main(["status", "--url", service.url]) == 0


def test_status_says_what_an_index_is_at_fault_for_and_not_that_it_is_silent(
    service: WireService, capsys: Output
) -> None:
    service.stages = {"index": {"error": {"code": "storage_unavailable", "message": "shard 0: the disk is full"}}}
    assert main(["status", "--url", service.url]) == 3
    shown = capsys.readouterr().out
    assert "not healthy, see below" in shown
    assert "index: storage_unavailable: shard 0: the disk is full" in shown
    assert "does not answer" not in shown


def test_status_tells_briefly_of_a_rebuild_that_failed_and_the_service_is_sound(
    service: WireService, capsys: Output
) -> None:
    lines = [
        {"collection": "products", "failed": "storage_denied: no room\n" + "of nodes " * 100},
        {"collection": "images", "failed": None},
        {"collection": "older"},
    ]
    # Two processes that tell of the same index.
    lost = {"name": "lost", "documents": 0, "model_id": "m@1", "dimension": 2, "error": "its index is gone"}
    shards = [{"shard": n, "documents": 1, "graphs": lines} for n in range(2)]
    service.index_reports = [{"shards": shards, "collections": [lost]}]
    assert main(["status", "--url", service.url]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "lost: its index is gone" in out
    (told,) = [each for each in out if "rebuild" in each]
    assert told.startswith("products: the last rebuild failed: storage_denied: no room of nodes")
    assert told.endswith(" …")
    assert len(told) < 200


def test_verify_ends_with_1_when_there_are_faults(service: WireService, capsys: Output) -> None:
    assert main(["verify", "--url", service.url]) == 0
    assert "3 documents checked, 0 faults" in capsys.readouterr().out
    service.verify_answer |= {"ok": False, "faults": ["shard 0: b.jpg is damaged"], "double_ids": ["a.jpg"]}
    assert main(["verify", "--url", service.url]) == 1
    shown = capsys.readouterr().out
    for part in ("shard 0: b.jpg is damaged", "a.jpg: stored twice", "2 faults", "verify --repair"):
        assert part in shown
    assert main(["verify", "--url", service.url, "--repair", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["double_ids"] == ["a.jpg"]
    assert service.requests[-1] == ("/verify", [], {"repair": True})


def test_verify_shows_what_was_repaired(service: WireService, capsys: Output) -> None:
    service.verify_answer |= {"repaired": 2, "repairs": ["shard 1: the graph of 'images' is being built anew"]}
    assert main(["verify", "--repair", "--url", service.url]) == 0
    shown = capsys.readouterr().out
    assert "repaired: shard 1: the graph of 'images' is being built anew" in shown
    assert "0 faults, 2 repaired" in shown
