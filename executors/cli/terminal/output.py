"""What a person sees: consoles, tables and text that is safe to print."""

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

# Wide enough that a file or a pipe gets one line a row; a terminal has its own width.
_WIDTH_WITHOUT_TERMINAL: Final = 160


class PipeConsole(Console):
    """A console that leaves a closed pipe to the caller; rich would end the process with a status of its own."""

    def on_broken_pipe(self) -> NoReturn:
        """Let `run` answer."""
        raise BrokenPipeError


def stdout_console() -> Console:
    """For results."""
    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return PipeConsole(file=sys.stdout, highlight=False, markup=False, emoji=False, width=width)


def stderr_console() -> Console:
    """For progress, warnings and errors."""
    width = None if sys.stderr.isatty() else _WIDTH_WITHOUT_TERMINAL
    return PipeConsole(file=sys.stderr, highlight=False, markup=False, emoji=False, width=width)


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of its own; at once, so that whoever reads a pipe sees it when it is known."""
    text = json.dumps(value, ensure_ascii=sys.stdout.encoding.lower() not in ("utf-8", "utf8"))
    # A file's name that is not UTF-8 reaches us as lone surrogates: JSON can write them, UTF-8 can't.
    sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
    sys.stdout.flush()


def print_error(error: VisualSearchError | str) -> None:
    """One line that says what went wrong."""
    stderr_console().print(Text.assemble(("error: ", "bold red"), printable(str(error))), soft_wrap=True)


def print_warning(text: str) -> None:
    """One line that says what did not go as it should, and does not matter to the result."""
    stderr_console().print(Text.assemble(("warning: ", "yellow"), printable(text)), soft_wrap=True)


def printable(text: str) -> str:
    """Text whose control characters and stray bytes are escaped: a file's name must not drive the terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def is_unicode(text: str) -> bool:
    """Whether what was typed can be sent; stray bytes reach us as lone surrogates."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def make_table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A table in the style of all of them; text that does not fit is folded, never cut off."""
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, show_edge=False
    )
    for column in columns:
        table.add_column(
            column, justify="right" if column in right else "left", overflow="fold", no_wrap=column in right
        )
    return table


def cell(value: Any) -> Text:
    """A value as a cell of a table; nothing for None."""
    return Text("" if value is None else printable(str(value)))


def count_of(number: int, noun: str) -> str:
    """`1 picture`, `1,200 pictures`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
