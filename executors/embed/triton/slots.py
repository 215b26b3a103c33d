"""A bounded number of calls in flight: who comes later waits in line, small requests first, and can be turned away meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from executors.scheduling.turns import FairPlaces, Turn

_SMALL = Turn()


class Slots:
    """Slots for calls, that requests share. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        # The server works on calls in the order in which they came: the fewer of bulk are there, the sooner is a search's.
        self._places = FairPlaces(limit, limit - limit // 4)

    @property
    def taken(self) -> int:
        """How many are in use."""
        return self._places.taken

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return self._places.waiting

    async def take(self, seconds: float, turn: Turn = _SMALL) -> None:
        """Wait for a slot; whoever gets one has to `give_back` it, with the same turn.

        Raises:
            TimeoutError: there was none within `seconds`.
            Exception: what `turn_away` was given.
        """
        async with asyncio.timeout(seconds):
            await self._places.take(turn)

    def give_back(self, turn: Turn = _SMALL) -> None:
        """Hand the slot to the next in line."""
        self._places.give_back(turn)

    def turn_away(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error of its own in everyone who waits."""
        self._places.turn_away(make_error)
