"""Verdicts on the models of one server: passed, refused, or in doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executors.embed.triton.handshake import Served
from executors.errors import VisualSearchError
from executors.models.spec import Tower


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """The verdict on a server's model: `served` if it passed, `error` if not, neither while it is being verified."""

    served: Served | None = None
    error: VisualSearchError | None = None


_UNKNOWN: Final = Verdict()


class Verdicts:
    """The verdicts on a server's models, which are unknown at first.

    Attributes:
        judged: whether any model was ever judged.
    """

    def __init__(self, towers: list[Tower], on_change: Callable[[], None]) -> None:
        """Begin with unknown verdicts.

        Args:
            towers: the models.
            on_change: called whenever a verdict changes.
        """
        self.judged = False
        self._on_change = on_change
        self._verdicts = {tower.name: _UNKNOWN for tower in towers}
        self._doubts: dict[str, str] = {}

    def verdict_for(self, tower: Tower) -> Verdict:
        """The verdict on one model."""
        return self._verdicts[tower.name]

    def unknown(self, tower: Tower) -> bool:
        """Whether the model has to be verified first."""
        return self.verdict_for(tower) is _UNKNOWN

    def mark_passed(self, tower: Tower, served: Served) -> None:
        """Record that the model passed. If it passes again, it keeps its verdict, so that calls in flight stay valid."""
        if self.verdict_for(tower).served != served:
            self._judge(tower, Verdict(served=served))

    def mark_refused(self, tower: Tower, error: VisualSearchError) -> None:
        """Record that the model did not pass."""
        self._judge(tower, Verdict(error=error))

    def mark_in_doubt(self, tower: Tower, why: str) -> None:
        """Discard the verdict, because the server may run another model by now.

        Args:
            why: one line for the callers whose answers are in doubt.
        """
        self._doubts[tower.name] = why
        self._judge(tower, _UNKNOWN)

    def why_in_doubt(self, tower: Tower) -> str:
        """The reason for a call whose model was judged again while it ran, in one line."""
        if (error := self.verdict_for(tower).error) is not None:
            return error.message
        return f"{self._doubts.get(tower.name, 'its model was verified again')} while it ran"

    @property
    def server(self) -> str | None:
        """Name and version of the server, if any model passed."""
        return next((verdict.served.server for verdict in self._verdicts.values() if verdict.served), None)

    def _judge(self, tower: Tower, verdict: Verdict) -> None:
        self._verdicts[tower.name] = verdict
        self.judged = self.judged or verdict is not _UNKNOWN
        self._on_change()
