from __future__ import annotations

import io

import pytest
from rich.console import Console

from executors.cli.terminal.output import count_of, make_table, printable
from executors.cli.terminal.progress import BarView, LineView, Pace, format_duration, make_view


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3723, "1:02:03")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_what_was_skipped_does_not_count_for_the_rate() -> None:
    pace = Pace()
    assert pace.remaining(10) == "-"
    for _ in range(1000):
        pace.advance(failed=False, counted=False)
    assert (pace.rate(), pace.remaining(2000)) == (0, "-")
    pace.advance(failed=True, counted=True)
    assert pace.rate() > 0
    assert (pace.done, pace.failed, pace.worked) == (1001, 1, 1)


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    view = LineView(Console(file=stream, width=200), interval_s=0)
    view.start("indexing", 3)
    view.advance()
    view.advance(failed=True)
    view.stop()
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("indexing: 1/3, ")
    assert lines[1].endswith("left, 1 failed")
    assert "\x1b" not in stream.getvalue()


def test_without_a_total_only_what_is_done_is_shown() -> None:
    stream = io.StringIO()
    view = LineView(Console(file=stream, width=200), interval_s=0)
    view.start("importing", None)
    view.advance(number=1200)
    assert stream.getvalue().startswith("importing: 1,200, ")
    bar = io.StringIO()
    shown = BarView(Console(file=bar, width=200, force_terminal=True, color_system=None, legacy_windows=False))
    shown.start("importing", None)
    shown.advance(number=1200)
    shown.stop()
    assert "1,200 " in bar.getvalue()
    assert "/None" not in bar.getvalue()


@pytest.mark.parametrize("width", [200, 40, 12])
def test_a_bar_fits_any_terminal(width: int) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    view = BarView(console)
    view.start("indexing", 10)
    for _ in range(10):
        view.advance(failed=True)
    view.stop()
    assert "10/10" in stream.getvalue() or width < 60


def test_the_view_fits_where_it_is_shown() -> None:
    assert isinstance(make_view(Console(file=io.StringIO(), force_terminal=True)), BarView)
    assert isinstance(make_view(Console(file=io.StringIO())), LineView)


def test_text_that_could_drive_a_terminal_is_escaped() -> None:
    assert printable("Ölfarbe 日本語.jpg") == "Ölfarbe 日本語.jpg"
    assert printable("a\x1b[2J\r\n\u202e\udce9") == "a\\x1b[2J\\r\\n\\u202e\\udce9"


def test_a_table_folds_long_ids_and_cuts_none() -> None:
    stream = io.StringIO()
    table = make_table("id", "score", right=("score",))
    name = "x" * 100
    table.add_row(name, "0.5")
    Console(file=stream, width=40).print(table)
    assert stream.getvalue().count("x") == 100
    assert max(map(len, stream.getvalue().splitlines())) <= 40


def test_counts_are_in_words() -> None:
    assert (count_of(1, "file"), count_of(1200, "file")) == ("1 file", "1,200 files")
