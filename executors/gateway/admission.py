"""Limits how many requests are in flight; further ones are refused at once, so that none waits without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from executors.errors import VisualSearchError


class Gate:
    """Counts the requests in flight.

    Attributes:
        limit: the most requests in flight.
        in_flight: how many there are now.
        draining: True once the gateway is stopping; it then refuses all requests.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_flight = 0
        self.draining = False

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place for one request.

        Raises:
            VisualSearchError: `overloaded` or `draining`.
        """
        if self.draining:
            raise VisualSearchError("draining", "this gateway is stopping; send the request again")
        if self.in_flight >= self.limit:
            raise VisualSearchError("overloaded", "too many requests are in flight; try again", retry_after_s=1)
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
