"""Helpers of all benchmarks: photos, percentiles, memory, and tables that name the machine."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

SHARED_PHOTOS = Path(__file__).resolve().parents[4] / "shared" / "data" / "photos"


def photo_files(folder: Path | None = None) -> list[Path]:
    """The photos to measure with: a folder, the shared photos where they exist, or the demo's own library."""
    chosen = folder or (SHARED_PHOTOS if SHARED_PHOTOS.is_dir() else None)
    if chosen is None:
        import tempfile

        from executors.demo.library import make_library

        chosen = Path(tempfile.mkdtemp(prefix="photos-"))
        make_library(chosen)
    return sorted(path for path in chosen.rglob("*") if path.is_file())


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table, with the machine in its caption."""
    table = Table(title=title, caption=machine())
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=130).print(table)


def machine() -> str:
    """Describe this machine, and how busy it was in the last minute."""
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    return f"{platform.machine()}, {cores} cores, Python {platform.python_version()}, load {load:.1f}"


@dataclass(frozen=True, slots=True)
class Report:
    """Shows tables on the terminal and, where a file was named, appends them to it as Markdown.

    Args:
        command: what is typed to make these tables again.
    """

    command: str
    markdown: Path | None = None

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """Show a table as soon as it is known."""
        print_table(title, columns, rows)
        if self.markdown is not None:
            with self.markdown.open("a") as file:
                file.write(f"\n**{title}** (`{self.command}`; {machine()})\n\n" + markdown_table(columns, rows))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown: the first column to the left, numbers to the right."""
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def report_options(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--rows` and `--markdown`, which all benchmarks of the index take."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="how many documents (100,000)")
    parser.add_argument("--markdown", type=Path, help="append the tables to this file")
    return parser


def percentile(values: Sequence[float], percent: float, digits: int = 2) -> str:
    """A percentile of numbers as it is shown; a dash without any."""
    return f"{np.percentile(np.asarray(values), percent):.{digits}f}" if len(values) else "–"


def anonymous_mib() -> float:
    """Memory of this process that is its own: no pages of mapped files, which the system can take back at any time."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no RssAnon: this needs Linux")


def bytes_of(folder: Path) -> int:
    """Return the size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
