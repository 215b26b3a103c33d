"""Shows the demo's results: tables on the terminal, and a page with pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from executors.cli.index.shrinking import small_picture
from executors.cli.terminal.html_page import QueryResult, ReportMatch, write_report
from executors.cli.terminal.output import cell, make_table
from executors.demo.trials import DEMO_CHANGES, WHOLE, TrialResult, evenly, recall_at_1

_ROWS_A_CHANGE: Final = 3
_FAILURES_SHOWN: Final = 8
# The pictures to show first, if they are in the library.
_PREFERRED: Final = ("cat", "coffee", "astronaut", "motorcycle", "rocket", "photographer")


@dataclass(frozen=True, slots=True)
class DemoFigures:
    """The demo's figures: pictures and seconds of indexing, searches and seconds of searching, seconds of the start."""

    pictures: int
    index_s: float
    searches: int
    search_s: float
    one_search_ms: float
    start_s: float


def print_answers(console: Console, results: Sequence[TrialResult]) -> None:
    """Print a table of some answers of each change and of the failures (up to a limit), and one of the recall by change."""
    table = make_table("query", "change", "best match", "score", "right?", right=("score",), title="Answers")
    for result in chosen_results(results):
        table.add_row(*_row(result))
    console.print(table)
    summary = make_table("change", "searches", "recall@1", right=("searches", "recall@1"), title="All searches")
    for change in (WHOLE, *DEMO_CHANGES):
        group = [result for result in results if result.trial.change == change]
        if group:
            summary.add_row(change, f"{len(group):,}", f"{recall_at_1(group):.3f}")
    console.print(summary)


def chosen_results(results: Sequence[TrialResult]) -> list[TrialResult]:
    """Choose some results of each change, with different pictures, and then failures that are not among them."""
    chosen: list[TrialResult] = []
    preferred = [result for name in _PREFERRED for result in results if Path(result.trial.expected).stem == name]
    candidates = preferred or list(results)
    for number, change in enumerate((WHOLE, *DEMO_CHANGES)):
        group = [result for result in candidates if result.trial.change == change]
        start = number % max(1, len(group))
        turned = group[start:] + group[:start]
        chosen += turned[:_ROWS_A_CHANGE] if preferred else evenly(group, _ROWS_A_CHANGE)
    missed = [result for result in results if not result.is_right and result not in chosen]
    return chosen + evenly(missed, _FAILURES_SHOWN)


def summary_line(figures: DemoFigures, results: Sequence[TrialResult]) -> str:
    """Format all figures as one line."""
    changed = [result for result in results if result.trial.change != WHOLE]
    whole = [result for result in results if result.trial.change == WHOLE]
    return (
        f"{figures.pictures:,} pictures indexed in {figures.index_s:.1f} s ({figures.pictures / figures.index_s:.0f}/s), "
        f"{figures.searches:,} searches in {figures.search_s:.1f} s ({figures.searches / figures.search_s:.0f}/s; "
        f"one alone {figures.one_search_ms:.0f} ms), recall@1 {recall_at_1(whole):.3f} whole, "
        f"{recall_at_1(changed):.3f} changed, start {figures.start_s:.1f} s"
    )


def write_page(
    path: Path, figures: DemoFigures, results: Sequence[TrialResult], thumbnails: Mapping[str, bytes | None]
) -> None:
    """Write the page: query and matches side by side.

    Args:
        path: the HTML file.
        figures: the figures.
        results: all results; the page shows the `chosen_results` of them.
        thumbnails: the thumbnails of the matches, by id.

    Raises:
        OSError: the file can't be written.
    """
    changed = [result for result in results if result.trial.change != WHOLE]
    whole = [result for result in results if result.trial.change == WHOLE]
    write_report(
        path,
        "Visual search",
        [_page_query(result, thumbnails) for result in _for_page(results)],
        subtitle="Pictures, whole and changed, and what the index found for them. The best match comes first.",
        facts=[
            (f"{figures.pictures:,}", "pictures indexed"),
            (f"{figures.pictures / figures.index_s:.0f}/s", "indexing"),
            (f"{figures.searches:,}", "searches"),
            (f"{figures.one_search_ms:.0f} ms", "one search"),
            (f"{100 * recall_at_1(whole):.1f} %", "found first, whole"),
            (f"{100 * recall_at_1(changed):.1f} %", "found first, changed"),
        ],
    )


def shown_ids(results: Sequence[TrialResult]) -> list[str]:
    """The ids of all matches on the page."""
    return list(dict.fromkeys(match.id for result in chosen_results(results) for match in result.matches))


def _for_page(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The chosen results in turn, one of each change, and the failures last."""
    chosen = chosen_results(results)
    by_change = [[each for each in chosen if each.trial.change == change] for change in (*DEMO_CHANGES, WHOLE)]
    turns = [group[n] for n in range(max(map(len, by_change), default=0)) for group in by_change if n < len(group)]
    return [each for each in turns if each.is_right] + [each for each in turns if not each.is_right]


def _page_query(result: TrialResult, thumbnails: Mapping[str, bytes | None]) -> QueryResult:
    return QueryResult(
        label=Path(result.trial.expected).name,
        picture=small_picture(result.query),
        matches=[ReportMatch(each.id, each.score, thumbnails.get(each.id)) for each in result.matches],
        note=result.trial.change,
        expected=result.trial.expected,
        error=str(result.error or ""),
    )


def _row(result: TrialResult) -> tuple[Text, Text, Text, str, Text]:
    query, change = cell(result.trial.expected), cell(result.trial.change)
    if result.error is not None:
        return query, change, cell(result.error), "", Text("failed", style="red")
    if not result.matches:
        return query, change, Text(""), "", Text("no match", style="red")
    best = result.matches[0]
    verdict = Text("yes", style="green") if result.is_right else Text("no", style="red")
    return query, change, cell(best.id), f"{best.score:.3f}", verdict
