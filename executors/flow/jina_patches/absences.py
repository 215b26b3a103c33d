"""The replicas of a stage that get no requests because they don't answer, and the questions that bring them back.

This is plain asyncio without Jina; the caller passes the function that asks a replica.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final

_log = logging.getLogger(__name__)

# A question is small, and the event loop of the replica's process answers it. So a second of silence is not just load.
ASK_WITHIN_S: Final = 1.0
# The interval, in seconds, at which a replica that was left out is asked again.
ASK_AGAIN_S: Final = 0.5

Ask = Callable[[str, float], Awaitable[bool]]


@dataclass(slots=True)
class Absences:
    """The replicas of one stage (or shard) that are left out.

    Args:
        ask: returns whether the replica at an address answers a question within a number of seconds; it never raises.
        name_of: returns the name, for the log, of the replica at an address.
    """

    ask: Ask
    name_of: Callable[[str], str]
    _asking: dict[str, asyncio.Task[bool]] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def is_out(self, address: str) -> bool:
        """Return whether the replica at an address gets no requests now."""
        return address in self._waiting

    def present(self, addresses: Sequence[str]) -> list[str]:
        """Return the addresses that are not left out."""
        return [address for address in addresses if address not in self._waiting]

    async def answers(self, address: str, within_s: float = ASK_WITHIN_S) -> bool:
        """Return whether the replica answers now; requests that ask at the same time share one question."""
        asking = self._asking.get(address)
        if asking is None or asking.done():
            asking = self._asking[address] = asyncio.create_task(self._ask(address, within_s))
        return await asyncio.shield(asking)

    def leave_out(self, address: str, alone: bool) -> None:
        """Send nothing to a replica until it answers again; a background task keeps asking it.

        Args:
            address: the replica's address.
            alone: True if no other replica could do its work.
        """
        if self.is_out(address):
            return
        rest = "nothing else can do its work" if alone else "others do its work meanwhile"
        _log.error("%s does not answer and is left out; %s", self.name_of(address), rest)
        # The task outlives the request that noticed the silence, so it gets a context without that request's id.
        self._waiting[address] = asyncio.create_task(self._wait_for(address), context=Context())

    def close(self) -> None:
        """Stop asking."""
        for task in (*self._waiting.values(), *self._asking.values()):
            task.cancel()
        self._waiting.clear()
        self._asking.clear()

    async def _ask(self, address: str, within_s: float) -> bool:
        answered = await self.ask(address, within_s)
        if answered:
            self._bring_back(address)
        return answered

    async def _wait_for(self, address: str) -> None:
        while not await self.answers(address):  # noqa: ASYNC110 - each look is a question over the network
            await asyncio.sleep(ASK_AGAIN_S)

    def _bring_back(self, address: str) -> None:
        waiting = self._waiting.pop(address, None)
        if waiting is not None:
            _log.info("%s answers again", self.name_of(address))
            waiting.cancel()
