"""A bounded number of calls in flight: whoever comes later waits in line, and can be turned away while waiting."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Slots:
    """Slots for calls, handed out in the order in which they were asked for. Belongs to one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return sum(not place.done() for place in self._line)

    async def take(self, seconds: float) -> None:
        """Wait for a slot; whoever gets one has to `give_back`.

        Raises:
            TimeoutError: there was none within `seconds`.
            Exception: what `turn_away` was given.
        """
        if self.taken < self._limit:  # then nobody waits: a slot is handed on as long as someone does
            self.taken += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give_back()  # it was handed a slot in the moment in which it gave up
            elif place in self._line:
                self._line.remove(place)
            raise

    def give_back(self) -> None:
        """Hand the slot to the next in line."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.taken -= 1

    def turn_away(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error of its own in everyone who waits."""
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_exception(make_error())
