"""Writes search results as one HTML file, with the pictures of queries and matches; it loads nothing from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Final

from executors.files.writing import write_file

_TEMPLATE: Final = Path(__file__).with_name("html_page.html")
_MEDIA_TYPES: Final = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG": "image/png",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}


@dataclass(frozen=True, slots=True)
class ReportMatch:
    """One match: id, cosine, a small picture (encoded; None if there is none), and a line below the id."""

    id: str
    score: float
    picture: bytes | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """One query with its matches, best first.

    Attributes:
        label: the name of the query; empty if it is a text.
        picture: a small picture of it, encoded; None if there is none.
        matches: its matches, best first.
        text: a query in words, shown instead of a picture.
        note: what was done to the picture, such as `cropped by 20 %`.
        expected: the id that should come first, if it is known; the page then marks right and wrong.
        error: the error of the query; empty if there is none.
    """

    label: str
    picture: bytes | None
    matches: Sequence[ReportMatch]
    note: str = ""
    expected: str | None = None
    error: str = ""
    text: str = ""

    @property
    def is_right(self) -> bool | None:
        """Whether the expected document came first; None if none was expected."""
        if self.expected is None:
            return None
        return bool(self.matches) and self.matches[0].id == self.expected


def write_report(
    path: Path,
    title: str,
    queries: Sequence[QueryResult],
    *,
    subtitle: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page, completely or not at all; see `write_file`.

    Args:
        path: the file; its folder is created.
        title: heading and window title.
        queries: in the order in which they are shown.
        subtitle: a sentence below the heading.
        facts: figures to show at the top, as (value, what it is).

    Raises:
        OSError: the file can't be written.
    """
    write_file(path, render_report(title, queries, subtitle=subtitle, facts=facts).encode())


def render_report(
    title: str, queries: Sequence[QueryResult], *, subtitle: str = "", facts: Sequence[tuple[str, str]] = ()
) -> str:
    """Render the page; the arguments are those of `write_report`."""
    page = Template(_TEMPLATE.read_text("utf-8"))
    return page.substitute(
        title=_text(title),
        subtitle=f'<p class="subtitle">{_text(subtitle)}</p>' if subtitle else "",
        facts=_facts(facts),
        queries="\n".join(_query(query) for query in queries) or '<p class="empty">There were no queries.</p>',
    )


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    if not facts:
        return ""
    items = "".join(f"<div><dd>{_text(value)}</dd><dt>{_text(name)}</dt></div>" for value, name in facts)
    return f'<dl class="facts">{items}</dl>'


def _query(query: QueryResult) -> str:
    note = f'<span class="note">{_text(query.note)}</span>' if query.note else ""
    alternative = f"Query: {query.label or query.text}" + (f", {query.note}" if query.note else "")
    asked = f'<p class="words">{_text(query.text)}</p>' if query.text else _picture(query.picture, alternative)
    name = f'<span class="name">{_text(query.label)}</span>' if query.label else ""
    return (
        f'<section class="query" aria-label="{_text(alternative)}">'
        f'<figure class="asked"><div class="frame">{asked}</div>'
        f"<figcaption>{name}{note}{_verdict(query)}</figcaption></figure>"
        f"{_matches(query)}</section>"
    )


def _verdict(query: QueryResult) -> str:
    if query.is_right is None:
        return ""
    if query.is_right:
        return '<span class="verdict right">✓ found first</span>'
    ranks = [rank for rank, match in enumerate(query.matches, 1) if match.id == query.expected]
    where = f"found at rank {ranks[0]}" if ranks else "not found"
    return f'<span class="verdict wrong">✗ {where}</span>'


def _matches(query: QueryResult) -> str:
    if query.error:
        return f'<p class="empty error">{_text(query.error)}</p>'
    if not query.matches:
        return '<p class="empty">No match.</p>'
    items = "".join(_match(query, rank, match) for rank, match in enumerate(query.matches, 1))
    return f'<ol class="matches">{items}</ol>'


def _match(query: QueryResult, rank: int, match: ReportMatch) -> str:
    kind = ""
    if match.id == query.expected:
        kind = " right"
    elif rank == 1 and query.expected is not None:
        kind = " wrong"
    caption = f'<span class="caption">{_text(match.caption)}</span>' if match.caption else ""
    share = 100 * min(1.0, max(0.0, match.score))
    alternative = f"Match {rank}: {match.id}, score {match.score:.3f}"
    return (
        f'<li class="match{kind}"><div class="frame">{_picture(match.picture, alternative)}'
        f'<span class="rank">{rank}</span></div>'
        f'<div class="meter" aria-hidden="true"><i style="width:{share:.1f}%"></i></div>'
        f'<span class="score">{match.score:.3f}</span><span class="name">{_text(match.id)}</span>{caption}</li>'
    )


def _picture(picture: bytes | None, alternative: str) -> str:
    media_type = next((kind for head, kind in _MEDIA_TYPES.items() if picture and picture.startswith(head)), None)
    if picture is None or media_type is None:
        return f'<div class="missing" role="img" aria-label="{_text(alternative)}">no picture</div>'
    data = base64.b64encode(picture).decode()
    return f'<img alt="{_text(alternative)}" src="data:{media_type};base64,{data}">'


def _text(text: str) -> str:
    """Escape text for HTML content and attributes; also bytes of names that are not UTF-8."""
    return escape(text.encode("utf-8", "backslashreplace").decode())
