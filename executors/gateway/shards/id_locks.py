"""Locks of ids: in this gateway, one write of an id is completed before the next one gets its version.

Between gateways the versions decide; inside one gateway, the locks keep writes of the same id in order.
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
    """Locks by collection and id; a lock exists only while it is in use."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @asynccontextmanager
    async def hold(self, keys: Iterable[Key]) -> AsyncIterator[None]:
        """Hold the locks of all keys; every caller takes them in the same order, so that no two wait for each other."""
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
