"""Knows whether every stage has answered since the start, and if not, why."""

from __future__ import annotations

from executors.errors import VisualSearchError


class Readiness:
    """Set by what joins the flow; read wherever a request comes in.

    Attributes:
        ready: whether requests are answered.
        reason: what keeps the flow from being ready.
    """

    def __init__(self) -> None:
        self.ready = False
        self.reason: VisualSearchError | None = VisualSearchError("not_ready", "the flow is starting")

    def set_ready(self) -> None:
        """Every stage has answered."""
        self.ready, self.reason = True, None

    def check(self) -> None:
        """Refuse work before the flow has heard from every stage once.

        Raises:
            VisualSearchError: why it is not ready: `not_ready`, `shard_identity`, `unavailable`.
        """
        if not self.ready:
            raise self.reason or VisualSearchError("not_ready", "the flow is starting")
