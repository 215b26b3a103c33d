from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from executors.cli import main
from executors.demo.changes import with_orientation
from tests.support.flows.library_service import library_service
from tests.support.flows.wire_service import THUMBNAIL, Fault, WireService
from tests.support.pictures.pictures import encode, scene

MakeFiles = Callable[..., Path]


@pytest.fixture
def indexed(service: WireService) -> WireService:
    for name in ("a.jpg", "sub/b c.jpg", "d.jpg"):
        service.documents["images", name] = {"id": name}
    return service


def test_matches_are_shown_as_a_table(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("one.jpg", "two.jpg")
    files = [str(folder / name) for name in ("one.jpg", "two.jpg")]
    assert main(["search", *files, "--url", indexed.url, "--limit", "2", "--threshold", "0.25"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [files[0], "1", "a.jpg", "1.0000", "label", "of", "a.jpg", '{"n":', "0}"] in rows
    assert ["2", "d.jpg", "0.9000", "label", "of", "d.jpg", '{"n":', "1}"] in rows
    assert sum(files[1] in row for row in rows) == 1
    assert indexed.requests[0][2] == {"limit": 2, "threshold": 0.25}


def test_one_json_line_per_query(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("one.jpg", **{"two.jpg": b"bad"})
    missing = str(folder / "three.jpg")
    files = [str(folder / "one.jpg"), str(folder / "two.jpg"), missing]
    assert main(["search", *files, "--url", indexed.url, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == files
    assert [match["id"] for match in lines[0]["matches"]] == ["a.jpg", "d.jpg", "sub/b c.jpg"]
    assert [line["error"] and line["error"]["code"] for line in lines] == [
        None,
        "undecodable_image",
        "unreadable_file",
    ]


def test_many_files_go_in_several_requests_and_keep_their_order(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files(*(f"{n}.jpg" for n in range(20)))
    files = [str(folder / f"{n}.jpg") for n in reversed(range(20))]
    assert main(["search", *files, "--url", indexed.url, "--json"]) == 0
    assert [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()] == files
    sent = [doc["blob"].decode() for _, documents, _ in indexed.requests for doc in documents]
    assert sent == [f"content of {Path(each).name}" for each in files]
    assert max(len(documents) for _, documents, _ in indexed.requests) <= 8


def test_a_search_by_like(indexed: WireService, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--like", "sub/b c.jpg", "--url", indexed.url, "--collection", "images"]) == 0
    assert indexed.requests[0] == ("/search", [], {"limit": 10, "collection": "images", "like": "sub/b c.jpg"})
    assert "sub/b c.jpg" in capsys.readouterr().out


def test_texts_are_asked_after_the_files_and_shown_as_they_were_typed(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(make_files("one.jpg") / "one.jpg")
    texts = ["a red car", "二匹の猫/🐈", ""]
    typed = [argument for text in texts for argument in ("--text", text)]
    assert main(["search", file, *typed, "--url", indexed.url, "--limit", "1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == [file, *texts]
    assert [len(line["matches"]) for line in lines] == [1] * 4
    assert [doc.get("text") for _, documents, _ in indexed.requests for doc in documents] == [None, *texts]
    assert main(["search", "--text", "a red car", "--url", indexed.url]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("a red car")


def test_many_texts_go_in_several_requests_and_keep_their_order(
    indexed: WireService, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"text {n}" for n in range(70)]
    typed = [argument for text in texts for argument in ("--text", text)]
    assert main(["search", *typed, "--url", indexed.url, "--json"]) == 0
    assert [json.loads(line)["query"] for line in capsys.readouterr().out.splitlines()] == texts
    assert [doc["text"] for _, documents, _ in indexed.requests for doc in documents] == texts
    assert max(len(documents) for _, documents, _ in indexed.requests) <= 32


def test_a_text_that_is_no_unicode_costs_no_other(indexed: WireService, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--text", "caf\udce9", "--text", "tea", "--url", indexed.url, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["error"] and line["error"]["code"] for line in lines] == ["invalid_text", None]
    assert lines[1]["matches"]


def test_files_and_texts_go_together_but_not_with_like(
    indexed: WireService, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", "--text", "a red car", "--like", "a.jpg", "--url", indexed.url]) == 2
    assert main(["search", "--url", indexed.url]) == 2
    assert "--text" in capsys.readouterr().err
    assert indexed.requests == []


def test_the_page_shows_a_text_in_place_of_the_picture(
    indexed: WireService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    text = "red & <blue>/green"
    assert main(["search", "--text", text, "--url", indexed.url, "--html", str(page)]) == 0
    shown = page.read_text()
    assert '<p class="words">red &amp; &lt;blue&gt;/green</p>' in shown
    assert shown.count("<img ") == 3
    assert capsys.readouterr().err


def test_the_page_shows_queries_and_matches(
    indexed: WireService, make_files: MakeFiles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = with_orientation(encode(scene(1, 600, 400)), 6)
    folder = make_files(**{"query <1>.jpg": picture})
    page = tmp_path / "found" / "page.html"
    assert main(["search", str(folder / "query <1>.jpg"), "--url", indexed.url, "--html", str(page), "--json"]) == 0
    text = page.read_text()
    assert "query &lt;1&gt;.jpg" in text
    assert text.count("<img ") == 4
    assert sorted(doc["id"] for path, docs, _ in indexed.requests if path == "/thumbnail" for doc in docs) == [
        "a.jpg",
        "d.jpg",
        "sub/b c.jpg",
    ]
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert str(page) in captured.err
    assert THUMBNAIL


def test_a_page_that_cannot_be_written_is_an_error(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("one.jpg")
    page = folder / "one.jpg" / "page.html"
    assert main(["search", str(folder / "one.jpg"), "--url", indexed.url, "--html", str(page)]) == 1
    assert "can't be written" in capsys.readouterr().err


def test_no_match_is_said(service: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(make_files("one.jpg") / "one.jpg")
    assert main(["search", file, "--url", service.url]) == 0
    assert f"{file}: no match" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(status=503, code="shard_missing", retry_after="0"), 3),
        (Fault(status=404, code="not_found"), 1),
        (Fault(status=400, code="invalid_parameter"), 2),
    ],
    ids=lambda value: str(getattr(value, "code", value)),
)
def test_an_error_of_the_request_gives_its_exit_status(
    indexed: WireService, make_files: MakeFiles, fault: Fault, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("executors.client.transport.RetryPolicy.pause", lambda *_: 0.0)
    indexed.standing_faults.append(fault)
    assert main(["search", str(make_files("one.jpg") / "one.jpg"), "--url", indexed.url]) == status
    assert main(["search", "--like", "a.jpg", "--url", indexed.url]) == status


def test_what_is_no_regular_file_or_too_large_fails_at_once_and_alone(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_files("a.jpg")
    os.mkfifo(folder / "pipe.jpg")
    with (folder / "huge.tif").open("wb") as stream:
        stream.truncate(3 << 30)
    names = [str(folder / "pipe.jpg"), "/dev/zero", str(folder / "huge.tif"), str(folder), str(folder / "a.jpg")]
    assert main(["search", *names, "--url", indexed.url, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    codes = [line["error"] and line["error"]["code"] for line in lines]
    assert codes == ["unreadable_file", "unreadable_file", "image_too_large", "unreadable_file", None]


def test_the_input_is_a_picture_and_bounded(
    indexed: WireService, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("executors.cli.commands.query_files.MAX_PICTURE_BYTES", 1_000_000)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a picture")))
    assert main(["search", "-", "--url", indexed.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["query"] == "-"
    with Path("/dev/zero").open() as endless:
        monkeypatch.setattr("sys.stdin", endless)
        assert main(["search", "-", "--url", indexed.url, "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "image_too_large"


def test_what_the_shell_opened_is_read(
    indexed: WireService, make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"a picture")
    os.close(writing)
    assert main(["search", f"/dev/fd/{reading}", "--url", indexed.url]) == 0
    os.close(reading)


def test_every_option_of_a_search_is_sent_as_the_wire_has_it() -> None:
    with library_service() as service:
        service.put("c", "a", tags={"brand": "acme"})
        typed = [
            "--collection",
            "c",
            "--filter",
            '{"n": {"$lt": 5}}',
            "--group-by",
            "brand",
            "--fields",
            "uri, tags.brand",
        ]
        assert main(["search", "--like", "a", *typed, "--exact", "--ef", "64", "--explain", "--url", service.url]) == 0
        assert service.requests[0][2] == {
            "like": "a", "limit": 10, "collection": "c", "filter": {"n": {"$lt": 5}}, "group_by": "brand",
            "fields": ["uri", "tags.brand"], "exact": True, "ef": 64, "explain": True,
        }  # fmt: skip
        assert main(["search", "--like", "a", "--collection", "c", "--url", service.url]) == 0
        assert service.requests[1][2] == {"like": "a", "limit": 10, "collection": "c"}
        assert main(["search", "--like", "a", "--exclude-self", "--collection", "c", "--url", service.url]) == 0
        assert service.requests[2][2] == {"like": "a", "limit": 10, "collection": "c", "exclude_self": True}


def test_only_a_picture_of_the_index_can_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "a.jpg", "--exclude-self", "--url", "127.0.0.1:9"]) != 0
    assert "--exclude-self can only be used with --like" in capsys.readouterr().err


def test_groups_and_plans_are_shown_where_they_were_asked_for(
    make_files: MakeFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(make_files("q.jpg") / "q.jpg")
    with library_service() as service:
        service.put("images", "a", tags={"brand": "acme"})
        service.put("images", "b", tags={"brand": 7})
        search = ["search", file, "--url", service.url]
        assert main([*search, "--group-by", "brand", "--explain"]) == 0
        shown = capsys.readouterr().out
        rows = [line.split() for line in shown.splitlines()]
        assert [row[-8:-4] for row in rows if "label" in row] == [
            ["a", "1.0000", '"acme"', "label"], ["b", "0.9000", "7", "label"]
        ]  # fmt: skip
        assert f'{file}: {{"shard": 0, "plan": "graph"}}' in shown
        assert main([*search, "--group-by", "brand", "--explain", "--json", "--fields", "uri"]) == 0
        line = json.loads(capsys.readouterr().out)
        assert [set(match) for match in line["matches"]] == [{"id", "score", "uri", "group"}] * 2
        assert line["explain"] == {"shards": [{"shard": 0, "plan": "graph"}]}
        assert main([*search, "--json"]) == 0
        line = json.loads(capsys.readouterr().out)
        assert set(line["matches"][0]) == {"id", "score", "uri", "tags", "parent", "box"}
        assert "explain" not in line
