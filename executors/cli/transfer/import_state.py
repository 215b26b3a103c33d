"""The results of an import's lines, and the place from which a later run continues."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from executors.cli.transfer.import_reader import Place
from executors.errors import VisualSearchError

# How many failed lines are kept to be shown at the end. All of them are counted.
MAX_FAILURES: Final = 1_000


@dataclass(frozen=True, slots=True)
class LineResult:
    """The result of one line: created, replaced, unchanged or failed."""

    line: int
    id: str
    collection: str
    result: str
    error: VisualSearchError | None = None


@dataclass(slots=True)
class Tally:
    """The counted results of some lines."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[LineResult] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the results of another tally."""
        self.counts += other.counts
        self.codes += other.codes
        self.failures = sorted([*self.failures, *other.failures], key=lambda each: each.line)[:MAX_FAILURES]


@dataclass(slots=True)
class ImportState:
    """All lines before `place` have a result, counted in `tally`; `last` is the collection and id of one that succeeded."""

    place: Place = field(default_factory=Place)
    tally: Tally = field(default_factory=Tally)
    last: tuple[str, str] | None = None
