"""The output of `index` and `import` at their end: the failures as a table, and a summary in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from executors.cli.terminal.output import cell, count_of, make_table, printable
from executors.errors import VisualSearchError

SHOWN_FAILURES: Final = 20
# The order of the summary; results that this version does not know come after them.
_RESULTS: Final = ("created", "replaced", "unchanged", "skipped", "failed")
_NOTES: Final = {"skipped": " (acknowledged before)"}


def print_failures(
    console: Console,
    failures: Sequence[tuple[Mapping[str, object], VisualSearchError | None]],
    codes: Mapping[str, int],
    *,
    noun: str,
    where_all_are: str,
) -> None:
    """Print the first failures with their errors; if there are more, print how often each code occurs.

    Args:
        console: where to print.
        failures: what failed, as `{column: value}`, with its error; the first ones suffice, but there must be one.
        codes: how often each code occurs among all failures.
        noun: what failed, in the singular: `file` or `line`.
        where_all_are: the option that lists all of them.
    """
    columns = tuple(failures[0][0])
    table = make_table(*columns, "code", "what is wrong", right=("line",), title="Failed")
    for values, error in failures[:SHOWN_FAILURES]:
        code, message = (error.code, error.message) if error else ("", "")
        table.add_row(*(cell(value) for value in values.values()), cell(code), cell(message))
    console.print(table)
    total = sum(codes.values())
    if total > len(failures[:SHOWN_FAILURES]):
        ordered = sorted(codes.items(), key=lambda item: -item[1])
        counted = ", ".join(f"{count:,} {code}" for code, count in ordered)
        console.print(f"… {count_of(total, noun)} in all ({counted}); {where_all_are} lists them")


def summary(counts: Mapping[str, int], noun: str, seconds: float, *, aside: str | None = None) -> Text:
    """`240 files in 2.1 s (114.3/s): 238 created, 2 failed`

    Args:
        counts: how many things there are of each result.
        noun: what is counted, in the singular.
        seconds: how long it took.
        aside: stands in parentheses instead of the rate, where a rate would mislead.
    """
    total, skipped = sum(counts.values()), counts.get("skipped", 0)
    text = Text(f"{count_of(total, noun)} in {seconds:.1f} s")
    if aside is not None:
        text.append(f" ({aside})")
    elif total > skipped:
        text.append(f" ({(total - skipped) / max(seconds, 1e-9):,.1f}/s)")
    names = [name for name in _RESULTS if counts.get(name)]
    names += sorted(set(counts) - set(_RESULTS))
    for number, name in enumerate(names):
        text.append(", " if number else ": ")
        style = "red" if name == "failed" else ""
        text.append(f"{counts[name]:,} {printable(name)}{_NOTES.get(name, '')}", style=style)
    return text
