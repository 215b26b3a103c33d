"""Slots: a limited number of calls in flight. Later calls wait in line, small requests first, and may be turned away
meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executors.scheduling.turns import FairPlaces, Turn

_SMALL = Turn()


class Slots:
    """Slots for calls, shared by requests. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        # The server processes calls in the order of arrival: the fewer bulk calls are there, the sooner a search is
        # answered.
        self._places = FairPlaces(limit, limit - limit // 4)

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._places.taken

    @property
    def waiting(self) -> int:
        """How many calls wait in line."""
        return self._places.waiting

    async def take(self, seconds: float, turn: Turn = _SMALL) -> None:
        """Wait for a slot; the caller has to `give_back` it, with the same turn.

        Raises:
            TimeoutError: there was none within `seconds`.
            Exception: the one given to `turn_away`.
        """
        async with asyncio.timeout(seconds):
            await self._places.take(turn)

    def give_back(self, turn: Turn = _SMALL) -> None:
        """Hand the slot to the next in line."""
        self._places.give_back(turn)

    def turn_away(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error in every waiting call."""
        self._places.turn_away(make_error)
