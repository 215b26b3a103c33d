"""Which replicas of a stage are left out because they don't answer, and the questions that bring them back.

Plain asyncio, without Jina: how a replica is asked is handed in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final

_log = logging.getLogger(__name__)

# A question is small, and answered by the event loop of the replica's process: seconds of silence are no load.
ASK_WITHIN_S: Final = 1.0
# How often one that was left out is asked again.
ASK_AGAIN_S: Final = 0.5

Ask = Callable[[str, float], Awaitable[bool]]


@dataclass(slots=True)
class Absences:
    """The replicas of one stage (or shard) that are left out.

    Args:
        ask: whether the replica at an address answers a question within so many seconds; never raises.
        name_of: what the replica at an address is called in the log.
    """

    ask: Ask
    name_of: Callable[[str], str]
    _asking: dict[str, asyncio.Task[bool]] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def is_out(self, address: str) -> bool:
        """Whether no request is sent there at the moment."""
        return address in self._waiting

    def present(self, addresses: Sequence[str]) -> list[str]:
        """Those that are not left out."""
        return [address for address in addresses if address not in self._waiting]

    async def answers(self, address: str, within_s: float = ASK_WITHIN_S) -> bool:
        """Whether the replica answers now. Requests that wonder at the same time share one question."""
        asking = self._asking.get(address)
        if asking is None or asking.done():
            asking = self._asking[address] = asyncio.create_task(self._ask(address, within_s))
        return await asyncio.shield(asking)

    def leave_out(self, address: str, alone: bool) -> None:
        """Send nothing there until it answers again; it is asked for that in the background.

        Args:
            alone: there is no other replica that could do its work.
        """
        if self.is_out(address):
            return
        rest = "nothing else can do its work" if alone else "others do its work meanwhile"
        _log.error("%s does not answer and is left out; %s", self.name_of(address), rest)
        # It goes on after the request that noticed it: a context of its own, without the id of that request.
        self._waiting[address] = asyncio.create_task(self._wait_for(address), context=Context())

    def close(self) -> None:
        """Ask no more."""
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
