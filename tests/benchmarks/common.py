"""What every benchmark needs: photos, a flow, and a table that says on which machine it was made."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

SHARED_PHOTOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "photos"


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
    cores = len(os.sched_getaffinity(0))
    table = Table(title=title, caption=f"{platform.machine()}, {cores} cores, Python {platform.python_version()}")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)
