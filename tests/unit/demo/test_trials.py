from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from executors.client.answers import Hit
from executors.demo.presentation import DemoFigures, chosen_results, print_answers, shown_ids, summary_line, write_page
from executors.demo.trials import DEMO_CHANGES, WHOLE, Trial, TrialResult, evenly, plan_trials, recall_at_1
from executors.errors import VisualSearchError
from tests.support.pictures.pictures import encode, scene

PICTURE = encode(scene(1, 60, 80))


def result(expected: str, *matches: tuple[str, float], change: str = WHOLE) -> TrialResult:
    hits = [Hit(name, score) for name, score in matches]
    return TrialResult(Trial(Path("/photos") / expected, expected, change), PICTURE, hits)


def library(*names: str) -> dict[Path, str]:
    return {Path("/photos") / name: name for name in names}


def test_right_is_what_comes_first_or_looks_the_same() -> None:
    assert result("a", ("a", 1.0), ("b", 0.9)).is_right
    assert result("b", ("a", 1.0), ("b", 1.0 - 1e-6)).is_right
    assert not result("b", ("a", 1.0), ("b", 0.99)).is_right
    assert not result("c", ("a", 1.0)).is_right
    assert not result("c").is_right


def test_recall_is_the_share_of_right_ones() -> None:
    assert recall_at_1([]) == 1
    assert recall_at_1([result("a", ("a", 1.0)), result("a", ("b", 1.0))]) == 0.5


@given(st.lists(st.integers()), st.integers(0, 20))
def test_evenly_keeps_order_and_number(items: list[int], most: int) -> None:
    chosen = evenly(list(enumerate(items)), most)
    assert chosen == sorted(chosen)
    assert len(chosen) == min(len(items), most)
    assert len(set(chosen)) == len(chosen)


def test_every_picture_is_searched_whole_and_some_in_every_change() -> None:
    names = [f"{n}.jpg" for n in range(30)] + [f"tiles/{n}.jpg" for n in range(150)]
    trials = plan_trials(library(*names))
    assert sorted(trial.expected for trial in trials if trial.change == WHOLE) == sorted(names)
    for change in DEMO_CHANGES:
        assert sorted(t.expected for t in trials if t.change == change) == sorted(n for n in names if "/" not in n)


def test_a_large_folder_is_sampled() -> None:
    trials = plan_trials(library(*(f"{year}/{n}.jpg" for year in range(20) for n in range(500))))
    assert sum(trial.change == WHOLE for trial in trials) == 250
    changed = [trial for trial in trials if trial.change == DEMO_CHANGES[0]]
    assert len({trial.expected.split("/")[0] for trial in changed}) == 20


@pytest.mark.parametrize("names", [[], ["a.jpg"], ["sub/a.jpg"]])
def test_small_folders_are_fine(names: list[str]) -> None:
    assert len(plan_trials(library(*names))) == len(names) * (1 + len(DEMO_CHANGES))


def results() -> list[TrialResult]:
    found = [
        result(f"{n}.jpg", (f"{n}.jpg", 1.0), ("0.jpg", 0.4), change=change)
        for change in (WHOLE, *DEMO_CHANGES)
        for n in range(20)
    ]
    missed = result("17.jpg", ("3.jpg", 0.6), ("17.jpg", 0.5), change="text across")
    failed = TrialResult(missed.trial, PICTURE, [], VisualSearchError("undecodable_image", "damaged"))
    return [*found, missed, failed]


FIGURES = DemoFigures(pictures=20, index_s=2, searches=102, search_s=4, one_search_ms=21.4, start_s=3.21)


def test_failures_are_shown_not_hidden() -> None:
    chosen = chosen_results(results())
    assert {each.trial.change for each in chosen} == {WHOLE, *DEMO_CHANGES}
    assert len([each for each in chosen if not each.is_right]) == 2
    stream = io.StringIO()
    print_answers(Console(file=stream, width=160), results())
    shown = stream.getvalue()
    rows = [line.split() for line in shown.splitlines()]
    assert ["17.jpg", "text", "across", "3.jpg", "0.600", "no"] in rows
    assert ["17.jpg", "text", "across", "undecodable_image:", "damaged", "failed"] in rows
    assert ["text", "across", "22", "0.909"] in rows
    assert ["whole", "20", "1.000"] in rows


def test_the_summary_has_every_figure() -> None:
    line = summary_line(FIGURES, results())
    for part in ("20 pictures", "(10/s)", "102 searches", "21 ms", "1.000 whole", "0.976 changed", "start 3.2 s"):
        assert part in line


def test_the_page_shows_the_chosen_ones_with_their_thumbnails(tmp_path: Path) -> None:
    thumbnails: dict[str, bytes | None] = dict.fromkeys(shown_ids(results()), PICTURE)
    assert "3.jpg" in thumbnails
    write_page(tmp_path / "index.html", FIGURES, results(), thumbnails)
    text = (tmp_path / "index.html").read_text()
    assert "found at rank 2" in text
    assert "undecodable_image: damaged" in text
    assert "no picture" not in text
    assert text.count('class="query"') == len(chosen_results(results()))
