"""What became of the lines of an import, and the place from which another run goes on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from executors.cli.transfer.import_reader import Place
from executors.errors import VisualSearchError

# So many refused lines are kept to be shown at the end; all are counted, and told as they come.
MAX_FAILURES: Final = 1_000


@dataclass(frozen=True, slots=True)
class LineResult:
    """What became of one line: `result` is created, replaced, unchanged or failed."""

    line: int
    id: str
    collection: str
    result: str
    error: VisualSearchError | None = None


@dataclass(slots=True)
class Tally:
    """What became of some lines."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[LineResult] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count what another holds."""
        self.counts += other.counts
        self.codes += other.codes
        self.failures = sorted([*self.failures, *other.failures], key=lambda each: each.line)[:MAX_FAILURES]


@dataclass(slots=True)
class ImportState:
    """Every line before `place` has its fate, and `tally` is what became of them; `last` is one that was taken."""

    place: Place = field(default_factory=Place)
    tally: Tally = field(default_factory=Tally)
    last: tuple[str, str] | None = None
