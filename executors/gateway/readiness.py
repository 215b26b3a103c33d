"""Remembers whether every stage has answered since the start, and the reason if not."""

from __future__ import annotations

from executors.errors import VisualSearchError


class Readiness:
    """Whether the flow is ready. `Health` sets it when the gateway has joined the flow; the door reads it for every request.

    Attributes:
        ready: whether the gateway answers requests.
        reason: the error that keeps the flow from being ready; None if there is none.
    """

    def __init__(self) -> None:
        self.ready = False
        self.reason: VisualSearchError | None = VisualSearchError("not_ready", "the flow is starting")

    def set_ready(self) -> None:
        """Note that every stage has answered."""
        self.ready, self.reason = True, None

    def check(self) -> None:
        """Refuse work before the flow has heard from every stage once.

        Raises:
            VisualSearchError: the reason why it is not ready: `not_ready`, `shard_identity`, `unavailable`.
        """
        if not self.ready:
            raise self.reason or VisualSearchError("not_ready", "the flow is starting")
