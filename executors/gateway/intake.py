"""Bodies on their way and in memory: bounded in number, in bytes over all requests, and in time.

A request takes a place among those that are worked on only when its body is there; until then it is one of these. A body
that finds no room waits, which costs the caller a paused connection and no memory; so clients that send much at once need
not repeat it. The one that has been there longest always goes on, so that no two wait for each other for good: memory is
bounded by the limit and one body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from executors.errors import VisualSearchError

# A body may be this late before its rate counts: connections start slowly, and pause.
GRACE_S: Final = 10.0
# Bodies up to this size find room where larger ones wait: pictures that are searched for.
SMALL_BYTES: Final = 8_000_000
_LARGE_SHARE: Final = 0.75
# One that came just now is not closed to make room for another.
_YOUNG_S: Final = 0.25
_TRIES: Final = 5
# One that holds memory which others wait for, and of which nothing has come for so long, is ended.
_STALLED_S: Final = 5.0
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Attributes:
    bodies: most bodies on their way.
    size: bytes of all bodies in memory, those that are worked on included.
    timeout_s: when a body has to be there.
    rate: bytes a second that a body has to come with on average, after `GRACE_S`.
    """

    bodies: int
    size: int
    timeout_s: float
    rate: int


class Held:
    """One body: how much came, since when, and the memory that it holds."""

    def __init__(self, intake: Intake, weight: int) -> None:
        self._intake = intake
        self._weight = weight
        self._began = asyncio.get_running_loop().time()
        self._waited = 0.0
        self._heard_at = self._began
        self._timeout: asyncio.Timeout | None = None
        self._closed_for_another = False
        self.arrived = 0
        self.size = 0

    @property
    def elapsed(self) -> float:
        """Seconds that its sender has had."""
        return asyncio.get_running_loop().time() - self._began - self._waited

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Around the wait for its next piece.

        Raises:
            VisualSearchError: `body_timeout`.
        """
        limits = self._intake.limits
        due = min(limits.timeout_s, GRACE_S + self.arrived / limits.rate)
        try:
            async with asyncio.timeout(due - self.elapsed) as self._timeout:
                yield
            if self._closed_for_another:
                # Its piece came in the same moment; its place is another's already.
                raise self._late(due)
            self._heard_at = asyncio.get_running_loop().time()
        except TimeoutError:
            raise self._late(due) from None
        finally:
            self._timeout = None

    def arrival(self) -> AbstractAsyncContextManager[None]:
        """Around its reading.

        Raises:
            VisualSearchError: `overloaded`.
        """
        return self._intake.arrival(self)

    @property
    def is_stalled(self) -> bool:
        """Whether its sender is waited for, and has been for long."""
        return self._timeout is not None and asyncio.get_running_loop().time() - self._heard_at > _STALLED_S

    async def add(self, size: int, *, sent: bool = True) -> None:
        """A piece came: take memory for it, as soon as there is room.

        Args:
            sent: whether its sender sent it so, or it was unpacked from what was sent.

        Raises:
            VisualSearchError: `overloaded`.
        """
        loop = asyncio.get_running_loop()
        self.arrived += size if sent else 0
        began = loop.time()
        await self._intake.take(self, size * self._weight)
        self._waited += loop.time() - began

    async def add_whole(self, size: int) -> None:
        """A message is there as a whole, without having waited for room, as gRPC hands it over: see `add`.

        Raises:
            VisualSearchError: `overloaded`, at once when as much as may be in memory waits for room already.
        """
        with self._intake.waiting(size):
            await self.add(size)

    def keep(self, size: int) -> None:
        """It was read: from now on it holds so many bytes."""
        self._intake.give_back(self, self.size - size)

    def close_for_another(self) -> bool:
        """End it, if it is waiting for its sender."""
        if self._timeout is None or self._closed_for_another:
            return False
        self._closed_for_another = True
        self._timeout.reschedule(asyncio.get_running_loop().time())
        return True

    def _late(self, due: float) -> VisualSearchError:
        if self._closed_for_another:
            message = f"{self.arrived} bytes of the body came in {self.elapsed:.0f} s, and others needed its place"
        elif due >= self._intake.limits.timeout_s:
            message = f"the body did not come within {due:g} s (VS_BODY_TIMEOUT_MS)"
        else:
            message = (
                f"{self.arrived} bytes of the body came in {due:.0f} s: fewer than {self._intake.limits.rate} a second"
                " (VS_BODY_MIN_RATE)"
            )
        return VisualSearchError("body_timeout", message, bytes=self.arrived)


class Intake:
    """All bodies of one gateway process. Belongs to one event loop."""

    def __init__(self, limits: IntakeLimits) -> None:
        self.limits = limits
        self.size = 0
        self._held: dict[Held, None] = {}  # in the order in which they began to hold memory
        self._on_their_way: dict[Held, None] = {}
        self._freed = asyncio.Event()
        self._waiting = 0

    @property
    def on_their_way(self) -> int:
        """How many bodies are being read."""
        return len(self._on_their_way)

    @asynccontextmanager
    async def body(self, weight: int = 1) -> AsyncIterator[Held]:
        """A body, from its first piece to the answer of its request.

        Args:
            weight: bytes of memory that one byte of it takes while it is read.
        """
        held = Held(self, weight)
        try:
            yield held
        finally:
            self._on_their_way.pop(held, None)
            self.give_back(held, held.size)

    @asynccontextmanager
    async def arrival(self, held: Held) -> AsyncIterator[None]:
        """Around the reading of a body.

        Raises:
            VisualSearchError: `overloaded`.
        """
        if not await self._place_found():
            message = f"{self.limits.bodies} bodies are on their way already (VS_MAX_BODIES); try again"
            raise VisualSearchError("overloaded", message, retry_after_s=1)
        self._on_their_way[held] = None
        try:
            yield
        finally:
            self._on_their_way.pop(held, None)

    @contextmanager
    def waiting(self, size: int) -> Iterator[None]:
        """Around the wait for room of what is in memory already.

        Raises:
            VisualSearchError: `overloaded`.
        """
        if self._waiting and self._waiting + size > self._share_of(size):
            message = f"messages of {self._waiting} bytes wait for memory already (VS_MAX_BODIES_BYTES); try again"
            raise VisualSearchError("overloaded", message, retry_after_s=2)
        self._waiting += size
        try:
            yield
        finally:
            self._waiting -= size

    async def take(self, held: Held, size: int) -> None:
        """Take memory; waits until there is room.

        Raises:
            VisualSearchError: `overloaded`.
        """
        self._held.setdefault(held)
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                while not self._has_room(held, size):
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK_S):
                            await self._freed.wait()
                    self._close_stalled()
        except TimeoutError:
            message = f"the bodies of other requests hold {self.size} bytes (VS_MAX_BODIES_BYTES); try again"
            raise VisualSearchError("overloaded", message, retry_after_s=2) from None
        self.size += size
        held.size += size

    def give_back(self, held: Held, size: int) -> None:
        """Free memory."""
        self.size -= size
        held.size -= size
        if not held.size:
            self._held.pop(held, None)
        self._freed.set()
        self._freed = asyncio.Event()

    def _has_room(self, held: Held, size: int) -> bool:
        return self.size + size <= self._share_of(held.size + size) or next(iter(self._held)) is held

    def _share_of(self, size: int) -> float:
        """How much of the memory there is for a body of this size: the last part is for small ones."""
        return self.limits.size if size <= SMALL_BYTES else _LARGE_SHARE * self.limits.size

    async def _place_found(self) -> bool:
        """Whether there is a place, or one can be made; waits a moment for it."""
        for _ in range(_TRIES):
            if len(self._on_their_way) < self.limits.bodies or self._close_slowest():
                return True
            await asyncio.sleep(_YOUNG_S)
        return False

    def _close_stalled(self) -> None:
        """End the bodies that hold memory and whose senders have stopped: others wait for it."""
        for each in [each for each in self._on_their_way if each.is_stalled]:
            if each.close_for_another():
                self._on_their_way.pop(each, None)

    def _close_slowest(self) -> bool:
        """Make room for a body by ending the one that comes slowest; False when all are young or come well."""
        slow = [each for each in self._on_their_way if each.elapsed > _YOUNG_S]
        slow.sort(key=lambda each: each.arrived / each.elapsed)
        for each in slow:
            if each.close_for_another():
                self._on_their_way.pop(each, None)
                return True
        return False
