"""Files that are gone from a folder are counted, and their documents removed only on request and if they are ours."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli import main
from executors.client import Document, VisualSearchClient
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]
Index = Callable[..., tuple[int, str]]


@pytest.fixture
def index(service: WireService, capsys: pytest.CaptureFixture[str]) -> Index:
    """Type `index`: the exit status, and what was shown."""

    def typed(*arguments: str | Path) -> tuple[int, str]:
        capsys.readouterr()
        status = main(["index", *map(str, arguments), "--url", service.url, "--no-shrink"])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return typed


def ids(service: WireService) -> list[str]:
    return sorted(document_id for _, document_id in service.documents)


def test_without_prune_what_is_gone_is_counted(service: WireService, index: Index, make_files: MakeFiles) -> None:
    folder = make_files("a.jpg", "b.jpg", "sub/c.jpg", "sub/d.jpg")
    index(folder)
    (folder / "a.jpg").unlink()
    (folder / "sub" / "c.jpg").unlink()
    status, shown = index(folder)
    assert status == 0
    assert "2 files that were indexed from here are gone; --prune removes them" in shown
    assert len(ids(service)) == 4


def test_prune_removes_what_is_gone_and_nothing_else(service: WireService, index: Index, make_files: MakeFiles) -> None:
    folder, other = make_files("a.jpg", "b.jpg"), make_files("c.jpg", folder="other")
    index(folder)
    index(other)
    (folder / "a.jpg").unlink()
    assert index(folder, "--prune")[0] == 2  # there is no terminal
    assert ids(service) == ["a.jpg", "b.jpg", "c.jpg"]
    status, shown = index(folder, "--prune", "--yes")
    assert (status, ids(service)) == (0, ["b.jpg", "c.jpg"])
    assert "1 document removed from the index" in shown
    assert "gone" not in index(folder)[1]


def test_what_another_client_wrote_under_the_id_is_kept(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)

    async def replace() -> None:
        async with VisualSearchClient(service.url) as client:
            await client.index([Document(id="a.jpg", blob=b"theirs")])

    asyncio.run(replace())
    (folder / "a.jpg").unlink()
    assert "1 document kept" in index(folder, "--prune", "--yes")[1]
    assert ids(service) == ["a.jpg", "b.jpg"]


def test_what_is_left_out_or_excluded_now_is_not_gone(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", ".hidden/b.jpg", "c.png")
    index(folder, "--all")
    assert "gone" not in index(folder, "--exclude", "*.png", "--prune", "--yes")[1]
    assert len(ids(service)) == 3


def test_an_empty_folder_may_be_a_disk_that_is_not_mounted(
    service: WireService, index: Index, make_files: MakeFiles, tmp_path: Path
) -> None:
    folder = make_files("a.jpg", "disk/b.jpg")
    index(folder)
    (folder / "disk" / "b.jpg").unlink()
    status, shown = index(folder, "--prune", "--yes")
    assert (status, ids(service)) == (1, ["a.jpg", "disk/b.jpg"])
    assert "mounted" in shown
    assert "--allow-empty" in shown
    (folder / "a.jpg").unlink()
    (folder / ".DS_Store").write_bytes(b"x")
    assert index(folder, "--prune", "--yes")[0] == 1
    assert len(ids(service)) == 2
    assert index(folder, "--prune", "--yes", "--allow-empty")[0] == 0
    assert ids(service) == []


def test_another_disk_in_the_same_place_empties_nothing(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).unlink()
    (folder / "other.jpg").write_bytes(b"other")
    status, shown = index(folder, "--prune", "--yes")
    assert (status, ids(service)) == (1, ["a.jpg", "b.jpg", "other.jpg"])
    assert "Perhaps a disk is not mounted" in shown


def test_a_renamed_file_keeps_its_document_by_content_and_not_by_path(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)
    index(folder, "--id", "sha256", "--collection", "c")
    (folder / "a.jpg").rename(folder / "z.jpg")
    index(folder, "--prune", "--yes")
    index(folder, "--id", "sha256", "--collection", "c", "--prune", "--yes")
    assert [each for each in ids(service) if len(each) < 64] == ["b.jpg", "z.jpg"]
    assert len(service.documents) == 4


def test_a_moved_folder_keeps_what_a_prune_of_its_old_place_finds_gone(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg", "sub/c.jpg")
    index(folder)
    moved = Path(shutil.move(folder / "sub", folder.with_name("elsewhere")))
    index(moved, "--id-prefix", "sub/")
    assert index(folder, "--prune", "--yes")[0] == 0
    assert ids(service) == ["a.jpg", "b.jpg", "sub/c.jpg"]


def test_what_was_sent_with_another_prefix_is_told_and_pruned(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)
    assert "2 files are in the index twice" in index(folder, "--id-prefix", "x/")[1]
    index(folder, "--id-prefix", "x/", "--prune", "--yes")
    assert ids(service) == ["x/a.jpg", "x/b.jpg"]


def test_json_tells_of_each(service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_files("a.jpg", "b.jpg")
    command = ["index", str(folder), "--url", service.url, "--json"]
    main(command)
    (folder / "a.jpg").unlink()
    capsys.readouterr()
    main(command)
    *_, gone, totals = map(json.loads, capsys.readouterr().out.splitlines())
    assert gone == {"path": str(folder / "a.jpg"), "id": "a.jpg", "result": "gone", "error": None}
    assert (totals["result"], totals["gone"]) == ("totals", 1)
    main([*command, "--prune", "--yes"])
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["id"]: line["result"] for line in lines if line["id"]} == {"a.jpg": "pruned", "b.jpg": "skipped"}
