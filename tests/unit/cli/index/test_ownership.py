"""A file replaces only the picture that came from it. It is skipped only if the index still has that picture."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors.cli import main
from executors.client import Document, VisualSearchClient
from tests.support.flows.wire_service import WireService

MakeFiles = Callable[..., Path]
Index = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def index(service: WireService, capsys: pytest.CaptureFixture[str]) -> Index:
    """Type `index`; the exit status, and what became of each id: its result, or the code of its error."""

    def typed(*arguments: str | Path) -> tuple[int, dict[str, str]]:
        capsys.readouterr()
        status = main(["index", *map(str, arguments), "--url", service.url, "--no-shrink", "--json"])
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        told = {line["id"]: line["error"]["code"] if line["error"] else line["result"] for line in lines if line["id"]}
        return status, told

    return typed


def write(service: WireService, method: str, *arguments: Any, **options: Any) -> None:
    """Write as another client."""

    async def run() -> None:
        async with VisualSearchClient(service.url) as client:
            await getattr(client, method)(*arguments, **options)

    asyncio.run(run())


def blobs(service: WireService) -> dict[str, bytes]:
    return {document_id: document["blob"] for (_, document_id), document in service.documents.items()}


@pytest.fixture
def cameras(make_files: MakeFiles) -> tuple[Path, Path]:
    """Two folders whose pictures are numbered alike."""
    first = make_files(**{"IMG_1.jpg": b"a1", "IMG_2.jpg": b"a2"}, folder="A")
    return first, make_files(**{"IMG_1.jpg": b"b1", "IMG_3.jpg": b"b3"}, folder="B")


def test_a_second_folder_takes_no_place_of_the_first_one(
    service: WireService, index: Index, cameras: tuple[Path, Path]
) -> None:
    first, second = cameras
    index(first)
    assert index(second) == (1, {"IMG_1.jpg": "id_taken", "IMG_3.jpg": "created"})
    assert blobs(service)["IMG_1.jpg"] == b"a1"
    assert index(first) == (0, {"IMG_1.jpg": "skipped", "IMG_2.jpg": "skipped"})


def test_the_error_says_whose_the_picture_is_and_what_the_ways_out_are(
    service: WireService, cameras: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = cameras
    main(["index", str(first), "--url", service.url])
    assert main(["index", str(second), "--url", service.url]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("id_taken", "--id-prefix", "--replace", "1 created, 1 failed"):
        assert part in shown


def test_a_prefix_gives_ids_of_their_own(service: WireService, index: Index, cameras: tuple[Path, Path]) -> None:
    first, second = cameras
    index(first)
    for result in ("created", "skipped"):
        told = {"B/IMG_1.jpg": result, "B/IMG_3.jpg": result}
        assert index(second, "--id-prefix", "B/") == (0, told)
    assert blobs(service) == {"IMG_1.jpg": b"a1", "IMG_2.jpg": b"a2", "B/IMG_1.jpg": b"b1", "B/IMG_3.jpg": b"b3"}


def test_replace_takes_the_place_and_the_first_folder_is_told(
    service: WireService, index: Index, cameras: tuple[Path, Path]
) -> None:
    first, second = cameras
    index(first)
    assert index(second, "--replace") == (0, {"IMG_1.jpg": "replaced", "IMG_3.jpg": "created"})
    assert index(first) == (1, {"IMG_1.jpg": "id_taken", "IMG_2.jpg": "skipped"})
    assert index(first, "--replace")[1]["IMG_1.jpg"] == "replaced"
    assert blobs(service)["IMG_1.jpg"] == b"a1"


@pytest.mark.parametrize("options", [(), ("--no-resume",), ("--id", "sha256")])
def test_what_another_client_put_there_is_not_told_as_skipped(
    service: WireService, index: Index, make_files: MakeFiles, options: tuple[str, ...]
) -> None:
    folder = make_files(**{"a.jpg": b"ours"})
    (document_id,) = index(folder, *options)[1]
    write(service, "index", [Document(id=document_id, blob=b"theirs", uri="a.jpg")])
    for _ in range(2):
        assert index(folder, *options) == (1, {document_id: "id_taken"})
    assert blobs(service) == {document_id: b"theirs"}
    assert index(folder, *options, "--replace")[1] == {document_id: "replaced"}


@pytest.mark.parametrize("options", [(), ("--id", "sha256")])
def test_tags_that_were_changed_in_the_index_stay(
    service: WireService, index: Index, make_files: MakeFiles, options: tuple[str, ...]
) -> None:
    folder = make_files("a.jpg")
    (document_id,) = index(folder, *options)[1]
    write(service, "update", {document_id: {"seen": True}})
    service.requests.clear()
    for _ in range(2):
        assert index(folder, *options) == (0, {document_id: "skipped"})
    assert service.documents["images", document_id]["tags"] == {"seen": True}
    # The pictures were compared once: the second run knows the new version.
    assert len(service.sent_ids("/embed")) == 1


def test_a_moved_folder_goes_on_without_sending(service: WireService, index: Index, make_files: MakeFiles) -> None:
    folder = make_files("a.jpg", "sub/b.jpg")
    index(folder)
    moved = folder.rename(folder.with_name("moved"))
    service.requests.clear()
    for _ in range(2):
        assert index(moved) == (0, {"a.jpg": "skipped", "sub/b.jpg": "skipped"})
    assert service.sent_ids() == service.sent_ids("/embed") == []


def test_a_copied_folder_holds_the_same_pictures_and_not_the_changed_one(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)
    copied = Path(shutil.copytree(folder, folder.with_name("copied"), copy_function=shutil.copyfile))
    (copied / "b.jpg").write_bytes(b"edited")
    assert index(copied) == (1, {"a.jpg": "skipped", "b.jpg": "id_taken"})


def test_another_machine_may_send_the_same_pictures(
    service: WireService, index: Index, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another"))
    (folder / "b.jpg").write_bytes(b"another picture")
    assert index(folder) == (1, {"a.jpg": "unchanged", "b.jpg": "id_taken"})


def test_a_changed_file_replaces_what_came_from_it_with_and_without_resume(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg")
    for number, options in enumerate([(), ("--no-resume",), ()]):
        (folder / "a.jpg").write_bytes(b"edit %d" % number)
        assert index(folder, *options) == (0, {"a.jpg": "replaced" if number else "created"})


def test_a_picture_that_was_made_smaller_is_the_same_as_the_whole_one(
    service: WireService, index: Index, make_files: MakeFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_files("a.jpg")
    monkeypatch.setattr("executors.cli.index.shrinking.shrink", lambda blob: blob[:5])
    write(service, "index", [Document(id="a.jpg", blob=b"conte", uri="a.jpg")])
    assert index(folder) == (0, {"a.jpg": "replaced"})


def test_two_runs_beside_each_other_keep_what_each_has_put_there(service: WireService, make_files: MakeFiles) -> None:
    names = [f"{n:03}.jpg" for n in range(64)]
    folders = [make_files(folder=each, **{name: (each + name).encode() for name in names}) for each in ("A", "B")]
    service.delay_s = 0.05
    command = [sys.executable, "-m", "executors.cli", "index", "--url", service.url, "--no-shrink", "--json"]
    running = [
        subprocess.Popen([*command, str(folder)], cwd=Path(__file__).parents[4], stdout=subprocess.PIPE, text=True)
        for folder in folders
    ]
    lines = [json.loads(line) for each in running for line in each.communicate(timeout=60)[0].splitlines()]
    assert {line["result"] for line in lines} == {"created", "failed"}
    assert sum(line["result"] == "created" for line in lines) == len(names) == len(service.documents)


def test_a_file_and_a_document_that_were_both_changed_are_told_as_such(
    service: WireService, index: Index, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg")
    index(folder)
    write(service, "update", {"a.jpg": {"seen": True}})
    (folder / "a.jpg").write_bytes(b"edited")
    assert main(["index", str(folder), "--url", service.url, "--no-shrink"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "this file was indexed under this id",
        "the document in the index (its tags or its picture) have changed",
        "--replace",
    ):
        assert part in shown
    assert "not from this folder" not in shown
    assert index(folder, "--replace") == (0, {"a.jpg": "replaced"})
    assert blobs(service) == {"a.jpg": b"edited"}


@pytest.mark.parametrize("runs_between", [0, 1, 2])
def test_tags_of_another_client_are_not_lost_when_the_file_is_edited(
    service: WireService, index: Index, make_files: MakeFiles, runs_between: int
) -> None:
    folder = make_files("a.jpg", "b.jpg")
    index(folder, "--tags", '{"n": 1}')
    write(service, "update", {"a.jpg": {"n": 1, "seen": True}})
    for _ in range(runs_between):
        assert index(folder, "--tags", '{"n": 1}') == (0, {"a.jpg": "skipped", "b.jpg": "skipped"})
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"edited " + name.encode())
    assert index(folder, "--tags", '{"n": 1}') == (1, {"a.jpg": "id_taken", "b.jpg": "replaced"})
    assert service.documents["images", "a.jpg"]["tags"] == {"n": 1, "seen": True}


def test_a_document_with_tags_of_another_client_is_compared_only_once(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg")
    index(folder)
    write(service, "update", {"a.jpg": {"seen": True}})
    index(folder)
    service.requests.clear()
    assert index(folder) == (0, {"a.jpg": "skipped"})
    assert {path for path, _, _ in service.requests} == {"/get"}


def test_a_document_whose_tags_were_changed_back_belongs_to_its_file_again(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg")
    index(folder)
    for tags in ({"seen": True}, {}):
        write(service, "update", {"a.jpg": tags}, replace_tags=True)
        index(folder)
    (folder / "a.jpg").write_bytes(b"edited")
    assert index(folder) == (0, {"a.jpg": "replaced"})


def test_prune_keeps_a_document_whose_tags_another_client_changed(
    service: WireService, index: Index, make_files: MakeFiles
) -> None:
    folder = make_files("a.jpg", "b.jpg", "c.jpg")
    index(folder)
    write(service, "update", {"a.jpg": {"seen": True}})
    index(folder)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).unlink()
    assert index(folder, "--prune", "--yes") == (0, {"a.jpg": "kept", "b.jpg": "pruned", "c.jpg": "skipped"})
