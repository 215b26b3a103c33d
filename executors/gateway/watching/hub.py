"""Asks for the state of the service while there are watchers, and gives each watcher what has changed.

A watcher gets the present state first. While it reads slowly, a newer state of a topic takes the place of the one that
waits for it: so it never waits for more than one event of each topic, and nothing is missing from what it knows at the
end.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final

from executors.errors import VisualSearchError
from executors.gateway.watching.topics import Event

_INTERVAL_S: Final = 1.0
# The pause after a question is so many times as long as the question took: a slow store is not asked all the time.
_PAUSE: Final = 9.0
_LONGEST_PAUSE_S: Final = 10.0

_log = logging.getLogger(__name__)


class Watcher:
    """One reader of events. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, Event] = {}
        self._news = asyncio.Event()
        self._ended = False

    def give(self, event: Event) -> None:
        """Let an event wait for the reader, in place of an older one of its topic."""
        self._waiting.pop(event.topic, None)
        self._waiting[event.topic] = event
        self._news.set()

    def end(self) -> None:
        """Say that no further event comes."""
        self._ended = True
        self._news.set()

    async def next(self) -> Event | None:
        """Return the next event; None after the last one."""
        while not self._waiting:
            if self._ended:
                return None
            self._news.clear()
            await self._news.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Hub:
    """The watchers of one gateway.

    Args:
        ask: returns the present state of each topic.
        limit: the most watchers at once.
        interval_s: the shortest pause between two questions, in seconds.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[dict[str, dict[str, Any]]]], *, limit: int, interval_s: float = _INTERVAL_S
    ) -> None:
        self._ask = ask
        self.limit = limit
        self._interval_s = interval_s
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._state: dict[str, Event] = {}
        self._name = uuid.uuid4().hex[:8]
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def watchers(self) -> int:
        """How many watchers there are."""
        return len(self._watchers)

    def enter(self) -> Watcher:
        """Begin to watch; the caller has to call `leave`.

        Raises:
            VisualSearchError: `overloaded`, `draining`.
        """
        if self._closed:
            raise VisualSearchError("draining", "this gateway is stopping")
        if len(self._watchers) >= self.limit:
            message = f"{self.limit} callers watch already (VS_MAX_WATCHERS); try again"
            raise VisualSearchError("overloaded", message, retry_after_s=5)
        watcher = Watcher()
        self._watchers.add(watcher)
        for event in self._state.values():
            watcher.give(event)
        if self._task is None:
            self._task = asyncio.create_task(self._keep_asking())
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Stop watching. After the last watcher, the state is not asked for any more."""
        self._watchers.discard(watcher)
        if not self._watchers and self._task is not None:
            self._task.cancel()
            self._task = None
            # It would be old when the next watcher comes.
            self._state.clear()

    def close(self) -> None:
        """Tell all watchers that the gateway stops, and let no further ones in."""
        self._closed = True
        for each in self._watchers:
            each.give(self._event("end", {"code": "draining", "message": "this gateway is stopping"}))
            each.end()
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def _keep_asking(self) -> None:
        while True:
            started = time.monotonic()
            try:
                for topic, data in (await self._ask()).items():
                    self._tell(topic, data)
            except Exception:
                _log.exception("the state for /watch can't be told")
            took_s = time.monotonic() - started
            await asyncio.sleep(max(self._interval_s, min(_LONGEST_PAUSE_S, _PAUSE * took_s)))

    def _tell(self, topic: str, data: dict[str, Any]) -> None:
        known = self._state.get(topic)
        if known is not None and known.data == data:
            return
        event = self._state[topic] = self._event(topic, data)
        for each in self._watchers:
            each.give(event)

    def _event(self, topic: str, data: dict[str, Any]) -> Event:
        return Event(f"{self._name}-{next(self._numbers)}", topic, data)
