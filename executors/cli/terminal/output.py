"""Prints to the terminal: consoles, tables, JSON lines, errors, and text that is safe to print."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from executors.errors import VisualSearchError

# The width of output to a file or pipe, so that a row is one line; a terminal has its own width.
_WIDTH_WITHOUT_TERMINAL: Final = 160


class PipeConsole(Console):
    """A console that raises BrokenPipeError for a closed pipe; rich would end the process with its own exit status."""

    def on_broken_pipe(self) -> NoReturn:
        """Raise the error, so that `run` chooses the exit status."""
        raise BrokenPipeError


def stdout_console() -> Console:
    """Make the console for results."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return PipeConsole(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def stderr_console() -> Console:
    """Make the console for progress, warnings and errors."""
    width = None if sys.stderr.isatty() else _WIDTH_WITHOUT_TERMINAL
    return PipeConsole(file=sys.stderr, highlight=False, markup=False, emoji=False, width=width)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object as a line, and flush, so that a program that reads a pipe gets it at once."""
    text = json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))
    # A file name that is not UTF-8 has lone surrogates, which UTF-8 can't encode.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def print_error(error: VisualSearchError | str) -> None:
    """Print an error as one line on stderr."""
    stderr_console().print(Text.assemble(("error: ", "bold red"), printable(str(error))), soft_wrap=True)


def print_warning(text: str) -> None:
    """Print a warning as one line on stderr."""
    stderr_console().print(Text.assemble(("warning: ", "yellow"), printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """Escape control characters and stray bytes, so that a file name can't control the terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def is_unicode(text: str) -> bool:
    """Whether an argument is Unicode; bytes that are not UTF-8 become lone surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def make_table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """Make a table in the common style; text that does not fit is folded, never cut off."""
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, show_edge=False
    )
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return table


def cell(value: Any) -> Text:
    """Make a cell of a table; it is empty for None."""
    return Text("" if value is None else printable(str(value)))


def count_of(number: int, noun: str) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
