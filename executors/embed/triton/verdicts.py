"""What is known of the models on one server: passed, refused, or in doubt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executors.embed.triton.handshake import Served
from executors.errors import VisualSearchError
from executors.models.spec import Tower


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What is known of a server's model: `served` when it passed, `error` when not, neither while it is being verified."""

    served: Served | None = None
    error: VisualSearchError | None = None


_UNKNOWN: Final = Verdict()


class Verdicts:
    """The verdicts on a server's models, which are unknown at first.

    Attributes:
        judged: whether anything was ever found out.
    """

    def __init__(self, towers: list[Tower], on_change: Callable[[], None]) -> None:
        """
        Args:
            towers: the models.
            on_change: called whenever a verdict changes.
        """
        self.judged = False
        self._on_change = on_change
        self._verdicts = {tower.name: _UNKNOWN for tower in towers}
        self._doubts: dict[str, str] = {}

    def of(self, tower: Tower) -> Verdict:
        """On one model."""
        return self._verdicts[tower.name]

    def unknown(self, tower: Tower) -> bool:
        """Whether the model has to be verified first."""
        return self.of(tower) is _UNKNOWN

    def passed(self, tower: Tower, served: Served) -> None:
        """The model passed. One that passes again keeps its verdict, so that calls in flight stay valid."""
        if self.of(tower).served != served:
            self._judge(tower, Verdict(served=served))

    def rejected(self, tower: Tower, error: VisualSearchError) -> None:
        """The model did not pass."""
        self._judge(tower, Verdict(error=error))

    def doubted(self, tower: Tower, why: str) -> None:
        """What runs there may be something else by now: whatever was known is void.

        Args:
            why: one line for the callers whose answers are in doubt.
        """
        self._doubts[tower.name] = why
        self._judge(tower, _UNKNOWN)

    def why_in_doubt(self, tower: Tower) -> str:
        """One line for a call whose model was judged anew while it ran."""
        if (error := self.of(tower).error) is not None:
            return error.message
        return f"{self._doubts.get(tower.name, 'its model was verified anew')} while it ran"

    @property
    def server(self) -> str | None:
        """Name and version of the server, as far as a model passed."""
        return next((verdict.served.server for verdict in self._verdicts.values() if verdict.served), None)

    def _judge(self, tower: Tower, verdict: Verdict) -> None:
        self._verdicts[tower.name] = verdict
        self.judged = self.judged or verdict is not _UNKNOWN
        self._on_change()
