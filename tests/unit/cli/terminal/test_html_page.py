from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest

from executors.cli.terminal.html_page import QueryResult, ReportMatch, render_report, write_report
from tests.support.pictures.pictures import encode, scene

PICTURE = encode(scene(1, 40, 60))
PNG = encode(scene(2, 40, 60), ".png")


class Page(HTMLParser):
    """Parses a page like a browser: tags with their attributes, and the text."""

    void = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str, kind: str | None = None) -> list[dict[str, str]]:
        return [
            each for name, each in self.tags if name == tag and (kind is None or kind in each.get("class", "").split())
        ]


def query(expected: str | None = "a.jpg", ids: tuple[str, ...] = ("a.jpg", "b.jpg")) -> QueryResult:
    matches = [ReportMatch(name, 0.9 - n / 10, PICTURE) for n, name in enumerate(ids)]
    return QueryResult("query.jpg", PICTURE, matches, note="cropped by 20 %", expected=expected)


def test_the_page_holds_everything_it_shows() -> None:
    page = Page(render_report("Title", [query(), query(None)], facts=[("211", "pictures")], subtitle="Two queries."))
    assert page.open == []
    pictures = page.all("img")
    assert len(pictures) == 6
    for picture in pictures:
        head, _, data = picture["src"].partition(",")
        assert head == "data:image/jpeg;base64"
        assert base64.b64decode(data) == PICTURE
        assert picture["alt"]
    text = " ".join(page.text)
    for part in ("Title", "Two queries.", "211", "pictures", "query.jpg", "cropped by 20 %", "a.jpg", "0.900", "0.800"):
        assert part in text


def test_nothing_is_loaded_from_anywhere() -> None:
    text = render_report("Title", [query()])
    page = Page(text)
    for needle in ("http://", "https://", "//cdn", "@import", "url("):
        assert needle not in text
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"} == set()
    for _, attributes in page.tags:
        assert not {"href", "srcset", "onload", "onerror", "action"} & set(attributes)
    policy = next(each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_names_are_text_never_markup() -> None:
    evil = "<script>alert(1)</script>\" onerror='x' $title & ${facts}"
    result = QueryResult(evil, PICTURE, [ReportMatch(evil, 0.5, PICTURE, evil)], evil, evil)
    failed = QueryResult("q", None, [], error=evil)
    page = Page(render_report(evil, [result, failed], subtitle=evil, facts=[(evil, evil)]))
    assert page.open == []
    assert page.all("script") == []
    assert all(set(each) <= {"alt", "src"} for each in page.all("img"))
    assert "".join(page.text).count(evil) >= 8


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    write_report(tmp_path / "page.html", "t", [QueryResult("caf\udce9.jpg", None, [])])
    assert "caf\\udce9.jpg" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("expected", "ids", "right", "wrong", "verdict"),
    [
        ("a.jpg", ("a.jpg", "b.jpg"), 1, 0, "found first"),
        ("b.jpg", ("a.jpg", "b.jpg"), 1, 1, "found at rank 2"),
        ("c.jpg", ("a.jpg", "b.jpg"), 0, 1, "not found"),
        ("c.jpg", (), 0, 0, "not found"),
        (None, ("a.jpg", "b.jpg"), 0, 0, None),
    ],
)
def test_right_and_wrong_are_marked_where_the_answer_is_known(
    expected: str | None, ids: tuple[str, ...], right: int, wrong: int, verdict: str | None
) -> None:
    page = Page(render_report("t", [query(expected, ids)]))
    assert (len(page.all("li", "right")), len(page.all("li", "wrong"))) == (right, wrong)
    verdicts = page.all("span", "verdict")
    assert len(verdicts) == (0 if verdict is None else 1)
    assert verdict is None or any(verdict in text for text in page.text)


def test_ranks_scores_and_bars_follow_the_order() -> None:
    matches = [ReportMatch("a", 1.0000001, PICTURE), ReportMatch("b", 0.25, PNG), ReportMatch("c", -0.5, None)]
    page = Page(render_report("t", [QueryResult("q", PNG, matches)]))
    assert [each["style"] for each in page.all("i")] == ["width:100.0%", "width:25.0%", "width:0.0%"]
    assert [each["src"][:15] for each in page.all("img")] == ["data:image/png;", "data:image/jpeg", "data:image/png;"]
    text = [each.strip() for each in page.text if each.strip()]
    assert [text[text.index(score) - 1] for score in ("1.000", "0.250")] == ["1", "2"]
    assert "-0.500" in text


@pytest.mark.parametrize("picture", [None, b"", b"<svg onload=alert(1)>", b"\x00\x01"])
def test_what_is_no_picture_is_not_shown_as_one(picture: bytes | None) -> None:
    page = Page(render_report("t", [QueryResult("q", picture, [])]))
    assert page.all("img") == []
    (missing,) = page.all("div", "missing")
    assert missing["aria-label"] == "Query: q"


def test_failures_and_empty_answers_are_said() -> None:
    failed = QueryResult("q", PICTURE, [], error="undecodable_image: damaged")
    text = " ".join(Page(render_report("t", [failed, QueryResult("r", PICTURE, [])])).text)
    assert "undecodable_image: damaged" in text
    assert "No match." in text
    assert "There were no queries." in " ".join(Page(render_report("t", [])).text)


def test_the_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_report(path, "one", [query()])
    broken = QueryResult("q", PICTURE, [ReportMatch("a", "no number", None)])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        write_report(path, "two", [broken])
    assert "<title>one</title>" in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


def test_a_query_in_words_shows_its_words_in_place_of_a_picture() -> None:
    words = 'red <car> & "blue"\nsky'
    page = Page(render_report("Title", [QueryResult("", None, [ReportMatch("a.jpg", 0.3, PICTURE)], text=words)]))
    assert page.open == []
    assert len(page.all("p", "words")) == 1
    assert words in page.text
    assert page.all("section", "query")[0]["aria-label"] == f"Query: {words}"
    assert [len(page.all("img")), len(page.all("div", "missing"))] == [1, 0]
