from __future__ import annotations

import io
from collections import Counter

import pytest
from rich.console import Console

from executors.cli.outcome import SHOWN_FAILURES, print_failures, summary
from executors.errors import VisualSearchError


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({}, "0 files in 2.0 s"),
        ({"skipped": 3}, "3 files in 2.0 s: 3 skipped (acknowledged before)"),
        ({"created": 1}, "1 file in 2.0 s (0.5/s): 1 created"),
        (
            {"failed": 2, "created": 1998, "new\n": 1, "skipped": 9},
            "2,010 files in 2.0 s (1,000.5/s): 1,998 created, 9 skipped (acknowledged before), 2 failed, 1 new\\n",
        ),
    ],
)
def test_a_summary_counts_every_result_and_its_rate_only_what_was_sent(counts: dict[str, int], text: str) -> None:
    assert summary(counts, "file", 2.0).plain == text


def test_a_summary_may_say_something_instead_of_the_rate() -> None:
    assert summary({"created": 1}, "document", 2.0, aside="from line 7 on").plain.startswith(
        "1 document in 2.0 s (from line 7 on): 1 created"
    )


def test_the_first_failures_are_shown_and_all_are_counted_by_code() -> None:
    console = Console(file=io.StringIO(), width=100)
    error = VisualSearchError("no_content", "nothing\x1b in it")
    rows = [({"line": n, "id": f"id-{n}"}, error) for n in range(SHOWN_FAILURES + 5)]
    print_failures(console, rows, Counter(no_content=40, invalid_id=1), noun="line", where_all_are="--json")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("nothing\\x1b in it") == SHOWN_FAILURES
    assert "… 41 lines in all (40 no_content, 1 invalid_id); --json lists them" in shown
