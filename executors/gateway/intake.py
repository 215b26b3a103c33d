"""Limits on the bodies that arrive or are in memory: their number, their bytes over all requests, and their time.

A request counts as in flight only once its body is complete; until then its body counts here. A body that finds no room
waits: its connection is paused, and takes no memory. So clients that send much at once need not send it again. The oldest
body may always go on, so that bodies don't wait for each other without end; memory is therefore bounded by the limit plus
one body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from executors.errors import VisualSearchError

# The rate of a body is checked only after this time, because connections start slowly and pause.
GRACE_S: Final = 10.0
# The last part of the memory is kept for bodies up to this size, such as the picture of a query.
SMALL_BYTES: Final = 8_000_000
_LARGE_SHARE: Final = 0.75
# A body younger than this is not closed to make room for another.
_YOUNG_S: Final = 0.25
_TRIES: Final = 5
# A body that holds memory that others wait for is closed when nothing of it arrived for this time.
_STALLED_S: Final = 5.0
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class IntakeLimits:
    """Attributes:
    bodies: the most bodies that may be arriving at once.
    size: the most bytes of all bodies in memory, including those of requests in flight.
    timeout_s: the time for a body to arrive completely.
    rate: the lowest average rate of a body after `GRACE_S`, in bytes a second.
    """

    bodies: int
    size: int
    timeout_s: float
    rate: int


class Held:
    """One body: when it began, how much of it arrived, and how much memory it holds."""

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
        """The seconds that the sender has had; the time that the body waited for memory does not count."""
        return asyncio.get_running_loop().time() - self._began - self._waited

    @asynccontextmanager
    async def in_time(self) -> AsyncIterator[None]:
        """Limit the wait for the next piece, which runs inside the block.

        Raises:
            VisualSearchError: `body_timeout`.
        """
        limits = self._intake.limits
        due = min(limits.timeout_s, GRACE_S + self.arrived / limits.rate)
        try:
            async with asyncio.timeout(due - self.elapsed) as self._timeout:
                yield
            if self._closed_for_another:
                # The piece arrived at the same moment, but another body has the place already.
                raise self._late(due)
            self._heard_at = asyncio.get_running_loop().time()
        except TimeoutError:
            raise self._late(due) from None
        finally:
            self._timeout = None

    def arrival(self) -> AbstractAsyncContextManager[None]:
        """Hold a place among the arriving bodies while this one is read inside the block.

        Raises:
            VisualSearchError: `overloaded`.
        """
        return self._intake.arrival(self)

    @property
    def is_stalled(self) -> bool:
        """Whether the body has waited for its sender for too long."""
        return self._timeout is not None and asyncio.get_running_loop().time() - self._heard_at > _STALLED_S

    async def add(self, size: int, *, sent: bool = True) -> None:
        """Take memory for a piece that arrived, as soon as there is room.

        Args:
            size: bytes of the piece.
            sent: True if the sender sent these bytes, False if they were unpacked from what it sent.

        Raises:
            VisualSearchError: `overloaded`.
        """
        loop = asyncio.get_running_loop()
        self.arrived += size if sent else 0
        began = loop.time()
        await self._intake.take(self, size * self._weight)
        self._waited += loop.time() - began

    async def add_whole(self, size: int) -> None:
        """Take memory for a gRPC message, which is complete and in memory before it could wait for room; see `add`.

        Raises:
            VisualSearchError: `overloaded`, at once if the messages that wait for room have reached the limit.
        """
        with self._intake.waiting(size):
            await self.add(size)

    def keep(self, size: int) -> None:
        """Set the memory that the body holds once it was read."""
        self._intake.give_back(self, self.size - size)

    def close_for_another(self) -> bool:
        """Close the body if it waits for its sender; return whether it did."""
        if self._timeout is None or self._closed_for_another:
            return False
        self._closed_for_another = True
        self._timeout.reschedule(asyncio.get_running_loop().time())
        return True

    def _late(self, due: float) -> VisualSearchError:
        if self._closed_for_another:
            message = f"{self.arrived} bytes of the body arrived in {self.elapsed:.0f} s, and others needed its place"
        elif due >= self._intake.limits.timeout_s:
            message = f"the body did not arrive within {due:g} s (VS_BODY_TIMEOUT_MS)"
        else:
            message = (
                f"{self.arrived} bytes of the body arrived in {due:.0f} s: fewer than {self._intake.limits.rate} a second"
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
        """The number of bodies that are being read."""
        return len(self._on_their_way)

    @asynccontextmanager
    async def body(self, weight: int = 1) -> AsyncIterator[Held]:
        """Count a body inside the block, from its first piece to the answer of its request.

        Args:
            weight: bytes of memory that one byte of the body takes while it is read.
        """
        held = Held(self, weight)
        try:
            yield held
        finally:
            self._on_their_way.pop(held, None)
            self.give_back(held, held.size)

    @asynccontextmanager
    async def arrival(self, held: Held) -> AsyncIterator[None]:
        """Hold a place among the arriving bodies while a body is read inside the block.

        Raises:
            VisualSearchError: `overloaded`.
        """
        if not await self._place_found():
            message = f"{self.limits.bodies} bodies are arriving already (VS_MAX_BODIES); try again"
            raise VisualSearchError("overloaded", message, retry_after_s=1)
        self._on_their_way[held] = None
        try:
            yield
        finally:
            self._on_their_way.pop(held, None)

    @contextmanager
    def waiting(self, size: int) -> Iterator[None]:
        """Count a message that waits inside the block for room, and is in memory already.

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
        """Take memory; wait until there is room.

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
        """Return the memory that a body of this size may use; the last part is kept for small bodies."""
        return self.limits.size if size <= SMALL_BYTES else _LARGE_SHARE * self.limits.size

    async def _place_found(self) -> bool:
        """Return whether there is a place, or room could be made; it waits a moment for one."""
        for _ in range(_TRIES):
            if len(self._on_their_way) < self.limits.bodies or self._close_slowest():
                return True
            await asyncio.sleep(_YOUNG_S)
        return False

    def _close_stalled(self) -> None:
        """Close the bodies that hold memory and whose senders have stopped, because others wait for memory."""
        for each in [each for each in self._on_their_way if each.is_stalled]:
            if each.close_for_another():
                self._on_their_way.pop(each, None)

    def _close_slowest(self) -> bool:
        """Make room for a body by closing the one that arrives slowest; return False if all are young or fast enough."""
        slow = [each for each in self._on_their_way if each.elapsed > _YOUNG_S]
        slow.sort(key=lambda each: each.arrived / each.elapsed)
        for each in slow:
            if each.close_for_another():
                self._on_their_way.pop(each, None)
                return True
        return False
