"""One write of an id at a time in this gateway: stamped, stored and superseded before the next one is stamped.

Between gateways the versions decide; inside one, this keeps writes of the same id from overtaking each other at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]


@dataclass(slots=True)
class _Entry:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class IdLocks:
    """Locks by collection and id, kept only while they are in use."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        """Hold the locks of all keys; taken in one order by everybody, so that no two wait for each other."""
        ordered = sorted(set(keys))
        entries = [self._entries.setdefault(key, _Entry()) for key in ordered]
        for entry in entries:
            entry.users += 1
        acquired = 0
        try:
            for entry in entries:
                await entry.lock.acquire()
                acquired += 1
            yield
        finally:
            for entry in entries[:acquired]:
                entry.lock.release()
            for key, entry in zip(ordered, entries, strict=True):
                entry.users -= 1
                if entry.users == 0:
                    del self._entries[key]
