"""Shows the progress of a long command: as a bar on a terminal, otherwise as a line every few seconds."""

from __future__ import annotations

import time
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

_PLAIN_INTERVAL_S: Final = 5.0


class ProgressView(Protocol):
    """Shows how many items are done, and of how many, if that is known."""

    def start(self, description: str, total: int | None) -> None:
        """Start to show progress."""

    def advance(self, *, failed: bool = False, counted: bool = True, number: int = 1) -> None:
        """Add items that are done; `counted` says whether they took work, and so count for the rate."""

    def stop(self) -> None:
        """Stop, and remove the bar."""


class Pace:
    """The rate and remaining time, from the items that took work."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.done = 0
        self.failed = 0
        self.worked = 0

    def advance(self, *, failed: bool, counted: bool, number: int = 1) -> None:
        """Add items that are done."""
        self.done += number
        self.failed += number * failed
        self.worked += number * counted

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def rate(self) -> float:
        """Items per second."""
        return self.worked / max(self.elapsed_s, 1e-9)

    def remaining(self, total: int | None) -> str:
        """The remaining time as `m:ss` or `h:mm:ss`; a dash if it can't be known."""
        if total is None or not self.worked:
            return "-"
        return format_duration(max(0, total - self.done) / self.rate())


class BarView:
    """A bar with counts, rate and remaining time, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._pace = Pace()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            _CountColumn(),
            _PaceColumn(self._pace),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task("", total=None, visible=False)

    def start(self, description: str, total: int | None) -> None:
        """Show the bar."""
        self._progress.update(self._task, description=description, total=total, visible=True)
        self._progress.start()

    def advance(self, *, failed: bool = False, counted: bool = True, number: int = 1) -> None:
        """Move the bar."""
        self._pace.advance(failed=failed, counted=counted, number=number)
        self._progress.update(self._task, advance=number)

    def stop(self) -> None:
        """Remove the bar."""
        self._progress.stop()


class _CountColumn(ProgressColumn):
    """`120/4,000`"""

    def render(self, task: Task) -> Text:
        """The text beside the bar."""
        return Text(_done_of(int(task.completed), _total_of(task)))


class _PaceColumn(ProgressColumn):
    """`85.3/s  1:20 left  3 failed`"""

    def __init__(self, pace: Pace) -> None:
        super().__init__(table_column=Column(no_wrap=True))
        self._pace = pace

    def render(self, task: Task) -> Text:
        """The text beside the bar."""
        text = Text(f"{self._pace.rate():,.1f}/s  {self._pace.remaining(_total_of(task))} left")
        if self._pace.failed:
            text.append(f"  {self._pace.failed:,} failed", style="red")
        return text


class LineView:
    """A line every few seconds, for a file or a pipe."""

    def __init__(self, console: Console, interval_s: float = _PLAIN_INTERVAL_S) -> None:
        self._console = console
        self._interval_s = interval_s
        self._pace = Pace()
        self._total: int | None = None
        self._description = ""
        self._last = 0.0

    def start(self, description: str, total: int | None) -> None:
        """Note the description and the total."""
        self._description, self._total = description, total
        self._last = self._pace.elapsed_s

    def advance(self, *, failed: bool = False, counted: bool = True, number: int = 1) -> None:
        """Count, and print a line if it is time."""
        self._pace.advance(failed=failed, counted=counted, number=number)
        if self._pace.elapsed_s - self._last < self._interval_s:
            return
        self._last = self._pace.elapsed_s
        failures = f", {self._pace.failed:,} failed" if self._pace.failed else ""
        self._console.print(
            f"{self._description}: {_done_of(self._pace.done, self._total)}, {self._pace.rate():,.1f}/s, "
            f"{self._pace.remaining(self._total)} left{failures}"
        )

    def stop(self) -> None:
        """Do nothing: there is no bar to remove."""


def make_view(console: Console) -> ProgressView:
    """Make a bar for a terminal, or lines for other output."""
    return BarView(console) if console.is_terminal else LineView(console)


def _done_of(done: int, total: int | None) -> str:
    return f"{done:,}" if total is None else f"{done:,}/{total:,}"


def _total_of(task: Task) -> int | None:
    return None if task.total is None else int(task.total)


def format_duration(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
