"""The queries of `search --more-like … --less-like …`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executors.cli import main
from executors.cli.commands.search_terms import combined_queries
from executors.cli.parser.arguments import search_arguments
from executors.errors import VisualSearchError

MakeFiles = Callable[..., Path]


async def queries(*arguments: str) -> list[Any]:
    parser = argparse.ArgumentParser()
    search_arguments(parser)
    return await combined_queries(parser.parse_args(arguments))


def shown(query: Any) -> list[tuple[Any, float]]:
    return [(term.like or term.text or term.blob, term.weight) for term in query.terms]


async def test_terms_are_added_to_each_query(make_files: MakeFiles) -> None:
    folder = make_files("a.jpg", "b.jpg")
    first, second = str(folder / "a.jpg"), str(folder / "b.jpg")
    more = ("--more-like", "x", "--more-like", second, "--less-like", "y" * 400)
    further = [("x", 1.0), (b"content of b.jpg", 1.0), ("y" * 400, -0.5)]
    file, text = await queries(first, "--text", "a car", *more)
    assert (file.name, shown(file)) == (first, [(b"content of a.jpg", 1.0), *further])
    assert (text.name, text.is_text, shown(text)) == ("a car", True, [("a car", 1.0), *further])
    (like,) = await queries("--like", "z", *more)
    assert shown(like) == [("z", 1.0), *further]
    (alone,) = await queries(*more)
    assert shown(alone) == further
    assert alone.name == f"+x +{second} -{'y' * 400}"


async def test_a_query_that_can_not_be_read_fails_alone(make_files: MakeFiles) -> None:
    missing = str(make_files("a.jpg") / "missing.jpg")
    (bad, good) = await queries(missing, "--text", "a car", "--less-like", "y")
    assert (bad.error.code, good.error) == ("unreadable_file", None)


async def test_an_error_of_a_further_term_is_one_of_the_whole_command() -> None:
    (own,) = await queries("--like", "z", "--less-like", "y")
    (alone,) = await queries("--less-like", "y")
    for place, query, expected in (
        ("terms.0.like", own, True),
        ("terms.1.like", own, False),
        ("terms.0.like", alone, False),
    ):
        assert query.is_own_fault(VisualSearchError("not_found", "no", place=place)) is expected
    assert not own.is_own_fault(VisualSearchError("unavailable", "no", place="terms.0"))


def test_bounds_have_one_name_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "a.jpg", "--threshold", "0.5", "--score-min", "0.4", "--url", "127.0.0.1:9"]) == 2
    assert "give one of them" in capsys.readouterr().err
