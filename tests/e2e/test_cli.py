"""`visual-search` against a real flow, as a person types it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from executors.client import Document, VisualSearchClient
from executors.demo.changes import CHANGES
from tests.support.flows.flow import ROOT, RunningFlow
from tests.support.pictures.pictures import encode, scene

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def collection(request: pytest.FixtureRequest) -> str:
    """A collection of its own for each test: they share one flow."""
    return f"cli-{request.node.name}"[:100].replace("[", "-").replace("]", "")


@pytest.fixture
def run(flow: RunningFlow, tmp_path: Path) -> Run:
    """Type a command; the address of the flow comes from the settings."""

    def typed(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "VS_HTTP_PORT": str(flow.http_port),
            "XDG_DATA_HOME": str(tmp_path / "data"),
            "VS_MODELS_DIR": str(tmp_path / "models"),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "executors.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, env=environment, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return typed


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder as people have them: subfolders, names in many scripts, formats, a large one, a damaged one."""
    folder = tmp_path / "photos"
    (folder / "Müßiggang" / "日本").mkdir(parents=True)
    for n in range(20):
        (folder / "Müßiggang" / f"{n:02}.jpg").write_bytes(encode(scene(n)))
    (folder / "Müßiggang" / "日本" / 'with "quotes" & 100%.png').write_bytes(encode(scene(100), ".png"))
    (folder / "LARGE.JPG").write_bytes(encode(cv2.add(scene(200, 1500, 2200), _noise(1500, 2200))))
    (folder / "damaged.jpg").write_bytes(encode(scene(300))[:600])
    (folder / "page.jpg").write_bytes(b"<html>not found</html>")
    return folder


def _noise(height: int, width: int) -> Any:
    return np.random.default_rng(0).integers(0, 30, (height, width, 3), np.uint8)


def lines_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_folder_becomes_searchable(run: Run, photos: Path, collection: str, tmp_path: Path) -> None:
    options = ("--collection", collection)
    report = tmp_path / "failed.csv"
    indexed = lines_of(
        run("index", str(photos), *options, "--json", "--report", str(report), "--tags", '{"a": 1}', status=1)
    )
    by_id = {line["id"]: line for line in indexed}
    assert len(by_id) == 24
    assert {name for name, line in by_id.items() if line["result"] == "failed"} == {"damaged.jpg", "page.jpg"}
    assert by_id["page.jpg"]["error"]["code"] == "unsupported_format"
    assert by_id["damaged.jpg"]["error"]["code"] == "undecodable_image"
    assert len(report.read_text().splitlines()) == 3

    for name in ('Müßiggang/日本/with "quotes" & 100%.png', "Müßiggang/07.jpg", "LARGE.JPG"):
        (line,) = lines_of(run("search", str(photos / name), *options, "--json", "--limit", "3"))
        best = line["matches"][0]
        assert (best["id"], best["uri"], best["tags"]) == (name, name, {"a": 1})
        assert best["score"] > 0.9999
    again = run("index", str(photos), *options, "--tags", '{"a": 1}', status=1).stdout
    assert "22 skipped (acknowledged before), 2 failed" in again


def test_a_picture_made_smaller_before_it_is_sent_is_the_same_to_the_model(
    run: Run, photos: Path, collection: str
) -> None:
    folder = photos / "Müßiggang"
    (photos / "LARGE.JPG").rename(folder / "LARGE.JPG")
    run("index", str(folder), "--collection", collection, "--no-shrink")
    (line,) = lines_of(run("search", str(folder / "LARGE.JPG"), "--collection", collection, "--json"))
    assert line["matches"][0]["id"] == "LARGE.JPG"
    assert line["matches"][0]["score"] > 0.99


def test_changed_copies_find_their_originals_and_the_page_shows_them(
    run: Run, photos: Path, collection: str, tmp_path: Path
) -> None:
    folder = photos / "Müßiggang"
    run("index", str(folder), "--collection", collection)
    queries = []
    for n, change in enumerate(("cropped by 20 %", "rotated by EXIF", "recompressed at quality 40")):
        query = tmp_path / f"query-{n}.jpg"
        query.write_bytes(CHANGES[change]((folder / f"{n:02}.jpg").read_bytes()))
        queries.append(str(query))
    page = tmp_path / "found.html"
    done = run("search", *queries, "--collection", collection, "--limit", "4", "--html", str(page), "--json")
    assert [line["matches"][0]["id"] for line in lines_of(done)] == ["00.jpg", "01.jpg", "02.jpg"]
    text = page.read_text()
    assert text.count("<img ") == 3 * 5
    assert "no picture" not in text
    table = run("search", *queries, "--collection", collection, "--limit", "1").stdout
    assert all(name in table for name in (*queries, "00.jpg", "01.jpg", "02.jpg"))


def test_get_like_delete_and_index_again(run: Run, photos: Path, collection: str) -> None:
    folder, options = str(photos / "Müßiggang"), ("--collection", collection)
    run("index", folder, *options)
    (found,) = lines_of(run("get", "05.jpg", *options, "--json"))
    assert (found["id"], found["collection"], found["error"]) == ("05.jpg", collection, None)
    (like,) = lines_of(run("search", "--like", "05.jpg", *options, "--json"))
    assert like["matches"][0]["id"] == "05.jpg"
    assert "1 document deleted, 0 not" in run("delete", "05.jpg", *options).stdout
    assert "not_found" in run("get", "05.jpg", *options, status=1).stdout
    run("search", "--like", "05.jpg", *options, status=1)
    run("delete", "05.jpg", *options, status=1)
    assert "1 created, 20 skipped" in run("index", folder, *options).stdout


def test_two_folders_with_the_same_names_keep_both_pictures(
    run: Run, flow: RunningFlow, collection: str, tmp_path: Path
) -> None:
    options = ("--collection", collection)
    first, second = tmp_path / "first", tmp_path / "second"
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        for n in range(3):
            (folder / f"IMG_{n}.jpg").write_bytes(encode(scene(400 + 10 * number + n)))
    run("index", str(first), *options)
    refused = lines_of(run("index", str(second), *options, "--json", status=1))
    assert {line["error"]["code"] for line in refused} == {"id_taken"}
    run("index", str(second), *options, "--id-prefix", "second/")
    for folder, prefix in ((first, ""), (second, "second/")):
        (line,) = lines_of(run("search", str(folder / "IMG_1.jpg"), *options, "--json", "--limit", "1"))
        assert (line["matches"][0]["id"], round(line["matches"][0]["score"], 3)) == (f"{prefix}IMG_1.jpg", 1.0)

    # Another client puts another picture there, and changes the tags of a second one.
    async def write() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            await client.index([Document(id="IMG_0.jpg", blob=encode(scene(450)))], collection=collection)
            await client.update({"IMG_1.jpg": {"n": 1}}, collection=collection)

    asyncio.run(write())
    again = {line["id"]: line for line in lines_of(run("index", str(first), *options, "--json", status=1))}
    assert again["IMG_0.jpg"]["error"]["code"] == "id_taken"
    assert (again["IMG_1.jpg"]["result"], again["IMG_2.jpg"]["result"]) == ("skipped", "skipped")
    assert lines_of(run("get", "IMG_1.jpg", *options, "--json"))[0]["tags"] == {"n": 1}
    assert "1 replaced, 2 skipped" in run("index", str(first), *options, "--replace").stdout
    # Without a journal, the same pictures are known by what the index holds.
    shutil.rmtree(tmp_path / "data")
    assert "3 unchanged" in run("index", str(second), *options, "--id-prefix", "second/").stdout
    moved = first.rename(tmp_path / "moved")
    (moved / "IMG_2.jpg").unlink()
    run("index", str(moved), *options)
    (moved / "IMG_1.jpg").unlink()
    assert "1 document removed" in run("index", str(moved), *options, "--prune", "--yes").stdout
    assert run("count", *options).stdout == "5\n"


def test_status_and_verify_of_a_sound_index(run: Run, photos: Path, collection: str) -> None:
    run("index", str(photos / "Müßiggang"), "--collection", collection)
    shown = run("status").stdout
    for part in ("ready", "efficientnet-lite0@", collection, "Shards"):
        assert part in shown
    names = {each["name"]: each["documents"] for each in lines_of(run("status", "--json"))[0]["index"]["collections"]}
    assert names[collection] == 21
    assert "0 faults" in run("verify").stdout
    assert lines_of(run("verify", "--json"))[0]["ok"] is True


def test_collections_filters_groups_and_counts(run: Run, photos: Path, collection: str) -> None:
    folder, options = str(photos / "Müßiggang"), ("--collection", collection)
    run("index", folder, *options, "--tags", '{"album": "one", "price": 5}')
    run("collections", "create", f"{collection}.b", "--model-id", "ours@1", "--dimension", "3")
    listed = {line["name"]: line for line in lines_of(run("collections", "--json"))}
    assert listed[collection]["documents"] == 21
    assert (listed[f"{collection}.b"]["model_id"], listed[f"{collection}.b"]["dimension"]) == ("ours@1", 3)
    cheap = ("--filter", '{"price": {"$lt": 6}}')
    assert run("count", *options, *cheap).stdout == "21\n"
    assert run("count", *options, "--filter", '{"price": {"$lt": 5}}').stdout == "0\n"
    query = ("search", str(photos / "Müßiggang" / "03.jpg"), *options, "--json")
    (line,) = lines_of(run(*query, *cheap, "--group-by", "album", "--exact", "--explain", "--fields", "tags.price"))
    (match,) = line["matches"]
    assert (match["id"], match["group"], match["tags"]) == ("03.jpg", "one", {"price": 5})
    assert [each["shard"] for each in line["explain"]["shards"]] == [0, 1]
    (line,) = lines_of(run(*query, "--filter", '{"album": {"$ne": "one"}}'))
    assert line["matches"] == []
    run("reindex", *options)
    assert "21 documents deleted" in run("delete", *options, *cheap, "--yes").stdout
    assert run("count", *options).stdout == "0\n"
    for name in (collection, f"{collection}.b"):
        assert "dropped" in run("collections", "drop", name, "--yes").stdout
    run("collections", "show", collection, status=1)


def test_what_the_service_refuses_is_said(run: Run, photos: Path) -> None:
    file = str(photos / "LARGE.JPG")
    assert "invalid_parameter" in run("search", file, "--limit", "20000", status=2).stderr
    assert "collection_not_found" in run("search", file, "--collection", "nobody", status=1).stdout


def test_tags_of_another_client_survive_a_run_and_an_edit_of_the_file(
    flow: RunningFlow, tmp_path: Path, run: Run, collection: str
) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for n, name in enumerate(("changed.jpg", "kept.jpg")):
        (folder / name).write_bytes(encode(scene(n)))
    tags = {"n": 1, "x": 2.0, "tiny": 1e-7, "many": [1, "a", None, {"ü": [True, -0.5]}], "none": None}
    command = ["index", str(folder), "--collection", collection, "--tags", json.dumps(tags), "--json"]
    run(*command)

    async def update() -> None:
        async with VisualSearchClient(flow.http_url) as client:
            await client.update({"kept.jpg": tags}, replace_tags=True, collection=collection)
            await client.update({"changed.jpg": {"seen": True}}, collection=collection)

    asyncio.run(update())
    assert {line["result"] for line in lines_of(run(*command))} == {"skipped"}
    for n, name in enumerate(("changed.jpg", "kept.jpg")):
        (folder / name).write_bytes(encode(scene(10 + n)))
    results = {line["id"]: line["error"] and line["error"]["code"] for line in lines_of(run(*command, status=1))}
    assert results == {"changed.jpg": "id_taken", "kept.jpg": None}
    (found,) = lines_of(run("get", "changed.jpg", "--collection", collection, "--json"))
    assert found["tags"] == tags | {"seen": True}
