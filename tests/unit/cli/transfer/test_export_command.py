from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from executors.cli import main
from executors.cli.transfer import exporter
from tests.support.flows.commands import run_process, wait_for
from tests.support.flows.library_service import DIMENSION, MODEL, LibraryService, library_service

Output = pytest.CaptureFixture[str]
THUMBNAIL = b"\xff\xd8\xff a picture"


@pytest.fixture
def service() -> Iterator[LibraryService]:
    """Two collections with documents, one without."""
    with library_service() as running:
        for n in range(1200):
            running.put("images", f"{n:04}", tags={"even": n % 2 == 0, "n": n}, uri=f"ü{n}")
        running.put("other", "!", parent="p", box=[1.0, 2.0, 3.0, 4.5], text="t", thumbnail=THUMBNAIL)
        running.bound["empty"] = ("m@2", 7)
        yield running


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def part_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def test_a_file_holds_every_document_of_every_collection_whole(service: LibraryService, tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    assert main(["export", str(path), "--url", service.url]) == 0
    header, *documents, end = lines_of(path)
    assert [(each["name"], each["model_id"], each["dimension"], each["documents"]) for each in header["collections"]] == [
        ("empty", "m@2", 7, 0), ("images", MODEL, DIMENSION, 1200), ("other", MODEL, DIMENSION, 1)
    ]  # fmt: skip
    assert end == {"format": header["format"], "end": True, "documents": 1201}
    assert [each["id"] for each in documents] == [*(f"{n:04}" for n in range(1200)), "!"]
    assert documents[7]["tags"] == {"even": False, "n": 7}
    assert {key: documents[-1][key] for key in ("collection", "model_id", "parent", "box", "text", "thumbnail")} == {
        "collection": "other", "model_id": MODEL, "parent": "p", "box": [1.0, 2.0, 3.0, 4.5], "text": "t",
        "thumbnail": "/9j/IGEgcGljdHVyZQ==",
    }  # fmt: skip
    assert not part_of(path).exists()


def test_one_collection_and_a_filter(service: LibraryService, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "some.ndjson"
    arguments = ["--collection", "images", "--filter", '{"n": {"$gte": 1195}, "even": true}']
    assert main(["export", str(path), "--url", service.url, "--json", *arguments]) == 0
    header, *documents, _ = lines_of(path)
    assert [each["id"] for each in documents] == ["1196", "1198"]
    assert header["filter"] == {"n": {"$gte": 1195}, "even": True}
    assert json.loads(capsys.readouterr().out) == {"file": str(path), "documents": 2}


def test_the_output_holds_the_documents_and_nothing_else(service: LibraryService) -> None:
    done = run_process("export", "--url", service.url, "--collection", "other")
    out, err = done.communicate(timeout=30)
    assert done.returncode == 0
    assert [json.loads(line).get("id") for line in out.splitlines()] == [None, "!", None]
    assert b"1 document" in err


def test_pages_are_small_where_vectors_are_long(service: LibraryService, tmp_path: Path) -> None:
    service.bound["empty"] = ("m@2", 65_536)
    assert main(["export", str(tmp_path / "x"), "--url", service.url]) == 0
    limits = {given["collection"]: given["limit"] for path, _, given in service.requests if path == "/scroll"}
    assert limits == {"empty": 15, "images": 500, "other": 500}


def test_a_collection_that_is_not_there_is_said_before_anything_is_written(
    service: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    assert main(["export", str(tmp_path / "x"), "--url", service.url, "--collection", "nobody"]) == 1
    assert "collection_not_found" in capsys.readouterr().err
    assert list(tmp_path.glob("x*")) == []


def test_an_index_without_collections_is_an_empty_export(tmp_path: Path) -> None:
    with library_service() as nothing:
        assert main(["export", str(tmp_path / "x"), "--url", nothing.url, "--collection", "images"]) == 0
    assert [each.get("end") for each in lines_of(tmp_path / "x")] == [None, True]


def test_a_service_that_fails_on_the_way_leaves_a_part_and_resume_makes_it_whole(
    service: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    whole, path = tmp_path / "whole", tmp_path / "x"
    assert main(["export", str(whole), "--url", service.url]) == 0
    service.requests.clear()
    service.broken_after = 3
    assert main(["export", str(path), "--url", service.url]) == 3
    assert "1,000 documents in " in (said := capsys.readouterr().err)
    assert "--resume continues it" in said
    assert not path.exists()
    assert main(["export", str(path), "--url", service.url]) == 2
    assert "Use --resume to continue it" in capsys.readouterr().err
    service.broken_after = None
    service.requests.clear()
    assert main(["export", str(path), "--url", service.url, "--resume"]) == 0
    assert path.read_bytes() == whole.read_bytes()
    assert [given["after"] for _, _, given in service.requests if given.get("collection") == "images"] == ["0999"]


@pytest.mark.parametrize("cut", range(1, 7))
def test_wherever_a_kill_cut_the_file_resume_makes_it_whole(
    cut: int, service: LibraryService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "_PAGE_DOCUMENTS", 300)
    whole, path = tmp_path / "whole", tmp_path / "x"
    assert main(["export", str(whole), "--url", service.url]) == 0
    content = whole.read_bytes()
    # From a torn header on to everything but the name.
    part_of(path).write_bytes(content[: 50 + (len(content) - 50) * (cut - 1) // 5])
    assert main(["export", str(path), "--url", service.url, "--resume"]) == 0
    assert path.read_bytes() == content


def test_resume_without_a_part_begins(service: LibraryService, tmp_path: Path) -> None:
    assert main(["export", str(tmp_path / "x"), "--url", service.url, "--resume"]) == 0
    assert len(lines_of(tmp_path / "x")) == 1203


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--filter", '{"n": 1}'], "with another --filter"),
        (["--collection", "images"], "of other collections"),
    ],
)
def test_a_part_of_another_export_is_not_gone_on_with(
    arguments: list[str], says: str, service: LibraryService, tmp_path: Path, capsys: Output
) -> None:
    service.broken_after = 3
    assert main(["export", str(tmp_path / "x"), "--url", service.url]) == 3
    before = part_of(tmp_path / "x").read_bytes()
    service.broken_after = None
    assert main(["export", str(tmp_path / "x"), "--url", service.url, "--resume", *arguments]) == 2
    assert says in capsys.readouterr().err
    service.uuid = "index-2"
    assert main(["export", str(tmp_path / "x"), "--url", service.url, "--resume"]) == 2
    assert "of another index" in capsys.readouterr().err
    assert part_of(tmp_path / "x").read_bytes() == before


@pytest.mark.parametrize("arguments", [["-", "--resume"], ["-", "--json"], ["/dev/null", "--resume"]])
def test_a_stream_can_be_neither_gone_on_with_nor_told_of(arguments: list[str], service: LibraryService) -> None:
    assert main(["export", *arguments, "--url", service.url]) == 2
    assert service.requests == []


def test_a_device_is_written_as_a_stream(service: LibraryService) -> None:
    assert main(["export", "/dev/null", "--url", service.url]) == 0
    assert not Path("/dev/null.part").exists()


def test_a_link_stays_and_what_it_leads_to_is_written(service: LibraryService, tmp_path: Path) -> None:
    link, target = tmp_path / "today.ndjson", tmp_path / "disk" / "1.ndjson"
    target.parent.mkdir()
    target.write_text("yesterday's")
    link.symlink_to(target)
    assert main(["export", str(link), "--url", service.url]) == 0
    assert link.is_symlink()
    assert len(lines_of(target)) == 1203
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_is_told_and_what_was_written_stays(service: LibraryService, tmp_path: Path) -> None:
    path = tmp_path / "x"
    script = f"ulimit -f 40; exec {{}} export {path} --url {service.url}"
    command = script.format("$0 -m executors.cli")
    done = _shell(command)
    assert done.returncode == 1
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert part_of(path).stat().st_size > 0
    assert main(["export", str(path), "--url", service.url, "--resume"]) == 0
    assert len(lines_of(path)) == 1203


def _shell(script: str) -> subprocess.CompletedProcess[str]:
    import sys

    from tests.support.flows.commands import ROOT

    # SIGXFSZ is what ends a process at the limit; Python ignores it, so that the write fails instead.
    return subprocess.run(["bash", "-c", script, sys.executable], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_lines_and_says_how_to_go_on(
    how: signal.Signals, service: LibraryService, tmp_path: Path
) -> None:
    path = tmp_path / "x"
    service.delay_s = 0.4
    process = run_process("export", str(path), "--url", service.url)
    wait_for(lambda: part_of(path).exists() and part_of(path).read_bytes().count(b"\n") > 500)
    process.send_signal(how)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert b"--resume continues it" in err
    assert b"Traceback" not in err
    assert part_of(path).read_bytes().endswith(b"}\n")
    service.delay_s = 0
    assert main(["export", str(path), "--url", service.url, "--resume"]) == 0
    assert len(lines_of(path)) == 1203


def is_longer(file: Path, size: int) -> bool:
    return file.exists() and file.stat().st_size > size


def test_a_kill_costs_nothing_that_resume_does_not_bring(service: LibraryService, tmp_path: Path) -> None:
    whole, path = tmp_path / "whole", tmp_path / "x"
    assert main(["export", str(whole), "--url", service.url]) == 0
    service.delay_s = 0.2
    for kills in range(2):
        process = run_process("export", str(path), "--url", service.url, "--resume")
        wait_for(partial(is_longer, part_of(path), 10_000 * kills))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert not path.exists()
    service.delay_s = 0
    assert main(["export", str(path), "--url", service.url, "--resume"]) == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_closed_pipe_ends_without_complaint(service: LibraryService) -> None:
    process = run_process("export", "-", "--url", service.url)
    service.delay_s = 0.2
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stderr:
        assert b"Traceback" not in stderr.read()
    assert process.wait(20) == 141
