"""Turns: waiting requests are served in turn, small ones overtake bulk, and bulk always makes progress.

A request is *bulk* by its content, not by its endpoint: many documents, or many bytes in more than one. The gateway
decides once and sends a `Turn` along; each stage orders its queue by it. This module does not depend on Jina.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

BULK_DOCUMENTS: Final = 8
BULK_BYTES: Final = 8_000_000
# If both kinds wait for the same places, at most this many small requests go before one bulk request.
SMALL_IN_A_ROW: Final = 8
# The increment to the niceness of a bulk thread: beside a search thread it gets about a tenth of a core, alone all of
# it.
BULK_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """The request that work belongs to.

    Attributes:
        request: the same for all parts of one request, different for every other one.
        bulk: whether small requests overtake it.
        key: whose it is. Keys take turns, and the requests of a key among themselves; it is not sent to the stages.
    """

    request: str = ""
    bulk: bool = False
    key: str = ""

    def parameters(self) -> dict[str, Any]:
        """The form in which it is sent to the stages."""
        return {"turn": self.request, "bulk": self.bulk} if self.request else {}

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> Turn:
        """The turn that a stage received; a small request if it received none."""
        return cls(str(parameters.get("turn", "")), bool(parameters.get("bulk", False)))


_ONE_OF_ITS_OWN: Final = Turn()
# The turn of the request that this task works for; tasks that it starts inherit it.
current_turn: Final[ContextVar[Turn]] = ContextVar("current_turn", default=_ONE_OF_ITS_OWN)


def is_bulk(documents: int, size: int) -> bool:
    """Whether a request is bulk work.

    Args:
        documents: how many it brings.
        size: bytes of all of them. A single picture is never bulk, however large.
    """
    return documents > BULK_DOCUMENTS or (documents > 1 and size > BULK_BYTES)


@dataclass(slots=True)
class _Line(Generic[T]):
    finish: float = 0.0
    items: deque[tuple[float, int, T]] = field(default_factory=deque)


class FairQueue(Generic[T]):
    """A queue in which each request has its own line, and the lines take turns. Not thread-safe.

    Start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996) with equal weights: an item starts, in virtual time, now
    or one unit after the previous item in its line; the item that starts first is served first. So a new request is
    served before the second item of requests that queued many.
    """

    def __init__(self) -> None:
        self._lines: dict[object, _Line[T]] = {}
        self._now = 0.0
        self._pushed = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def push(self, item: T, line: object) -> None:
        """Add an item to the end of a line."""
        found = self._lines.setdefault(line, _Line())
        start = max(self._now, found.finish)
        found.finish = start + 1.0
        found.items.append((start, self._pushed, item))
        self._pushed += 1
        self._count += 1

    def pop(self, fits: Callable[[T], bool] = lambda _: True) -> T | None:
        """Take the next item; with `fits`, the next one among the first of each line that fits. None if there is none."""
        heads = [(line.items[0][:2], key) for key, line in self._lines.items() if line.items and fits(line.items[0][2])]
        if not heads:
            return None
        _, key = min(heads, key=lambda head: head[0])
        start, _, item = self._lines[key].items.popleft()
        self._now = max(self._now, start)
        self._count -= 1
        self._forget_past_lines()
        return item

    def _forget_past_lines(self) -> None:
        """Forget empty lines whose last item has ended in virtual time: they are equivalent to new ones."""
        for key in [key for key, line in self._lines.items() if not line.items and line.finish <= self._now]:
            del self._lines[key]
        if not self._count:
            self._lines.clear()


class SharedQueue(Generic[T]):
    """A queue in which owners take turns, and the requests of one owner among themselves. Not thread-safe."""

    def __init__(self) -> None:
        self._owners: FairQueue[str] = FairQueue()
        self._own: dict[str, FairQueue[T]] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def push(self, item: T, owner: str, line: object) -> None:
        """Add an item to the end of a line of its owner's."""
        self._owners.push(owner, owner)
        self._own.setdefault(owner, FairQueue()).push(item, line)

    def pop(self) -> T | None:
        """Take the next item of the owner whose turn it is; None if there is none."""
        owner = self._owners.pop()
        if owner is None:
            return None
        queue = self._own[owner]
        item = queue.pop()
        if not queue:
            del self._own[owner]
        return item


class FairPlaces:
    """A limited number of places that requests share. Belongs to one event loop.

    Args:
        limit: places.
        bulk_limit: the maximum number of them for bulk work, so that a small request hardly ever waits.
    """

    def __init__(self, limit: int, bulk_limit: int) -> None:
        self._limit = limit
        self._bulk_limit = max(1, min(limit, bulk_limit))
        self._queues: dict[bool, SharedQueue[asyncio.Future[None]]] = {True: SharedQueue(), False: SharedQueue()}
        self._small_in_a_row = 0
        self.taken = self.taken_by_bulk = self._waiting = 0

    @property
    def waiting(self) -> int:
        """How many tasks wait in line."""
        return self._waiting

    @asynccontextmanager
    async def hold(self, turn: Turn) -> AsyncIterator[None]:
        """A context that holds a place, entered when it is this turn's turn."""
        await self.take(turn)
        try:
            yield
        finally:
            self.give_back(turn)

    async def take(self, turn: Turn) -> None:
        """Wait for a place; the caller has to `give_back` it, with the same turn.

        Raises:
            Exception: the one given to `turn_away`.
        """
        place = asyncio.get_running_loop().create_future()
        self._queues[turn.bulk].push(place, turn.key, turn.request)
        self._waiting += 1
        self._hand_out()
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give_back(turn)  # it was given a place at the moment in which it gave up
            raise
        finally:
            self._waiting -= 1

    def give_back(self, turn: Turn) -> None:
        """Pass the place on."""
        self.taken -= 1
        self.taken_by_bulk -= turn.bulk
        self._hand_out()

    def turn_away(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error in every waiting task."""
        for queue in self._queues.values():
            while (place := queue.pop()) is not None:
                if not place.done():
                    place.set_exception(make_error())

    def _hand_out(self) -> None:
        while self.taken < self._limit and (bulk := self._next_kind()) is not None:
            place = self._queues[bulk].pop()
            if place is not None and not place.done():  # tasks that gave up waiting are still in line
                self._small_in_a_row = 0 if bulk else self._small_in_a_row + 1
                self.taken += 1
                self.taken_by_bulk += bulk
                place.set_result(None)

    def _next_kind(self) -> bool | None:
        """Whether bulk is next; None if no waiting task may have a place."""
        bulk = bool(self._queues[True]) and self.taken_by_bulk < self._bulk_limit
        small = bool(self._queues[False])
        if bulk and small:
            return self._small_in_a_row >= SMALL_IN_A_ROW
        return bulk if bulk or small else None
