"""Shows the progress of downloads: as a bar per file on a terminal, otherwise as a line every few seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from executors.cli.terminal.output import printable
from executors.models.fetch.sources import PullProgress
from executors.models.manifest import ManifestFile

_PLAIN_INTERVAL_S: Final = 5.0


class PullBars:
    """A bar for each file that is being downloaded."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[ManifestFile, TaskID] = {}

    def tell(self, line: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(printable(line), soft_wrap=True)

    def advance(self, file: ManifestFile, done: int, total: int | None) -> None:
        """Move the file's bar."""
        if file not in self._tasks:
            # Bytes from an earlier pull do not count towards the speed.
            self._tasks[file] = self._progress.add_task(file.name, total=total, completed=done)
        self._progress.update(self._tasks[file], completed=done, total=total)


class PullLines:
    """A line every few seconds."""

    def __init__(self, console: Console, interval_s: float = _PLAIN_INTERVAL_S) -> None:
        self._console = console
        self._interval_s = interval_s
        self._last = time.monotonic()

    def tell(self, line: str) -> None:
        """Print a line."""
        self._console.print(printable(line), soft_wrap=True)

    def advance(self, file: ManifestFile, done: int, total: int | None) -> None:
        """Print the progress, if it is time."""
        if time.monotonic() - self._last < self._interval_s:
            return
        self._last = time.monotonic()
        whole = f" of {decimal(total)}, {done / total:.0%}" if total else ""
        self.tell(f"{file.name}: {decimal(done)}{whole}")


@contextmanager
def pull_progress(console: Console) -> Iterator[PullProgress]:
    """Yield bars for a terminal, or lines for other output; remove the bars at the end."""
    if not console.is_terminal:
        yield PullLines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, expand=True) as progress:
        yield PullBars(progress)
