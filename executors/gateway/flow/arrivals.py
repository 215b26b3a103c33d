"""Waits, while the flow starts, until the processes of its stages listen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

_LOOK_S: Final = 0.02
# One replica of several may be away for longer; the flow starts without it.
_WAIT_S: Final = 5.0


async def wait_for_processes(
    addresses: Iterable[str], is_cancelled: Callable[[], bool], *, wait_s: float = _WAIT_S
) -> None:
    """Wait until every address accepts connections, the flow is being stopped, or the time is over.

    Jina asks all stages for their endpoints; if one of them does not listen yet, it asks again after a whole second.

    Args:
        addresses: `host:port` of each process.
        is_cancelled: whether the flow is being stopped.
        wait_s: seconds for all of them together.
    """
    try:
        async with asyncio.timeout(wait_s):
            for address in addresses:
                while not await _accepts(address):
                    if is_cancelled():
                        return
                    await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        return


async def _accepts(address: str) -> bool:
    parts = urlsplit(f"//{address}")
    try:
        _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except OSError:
        return False
    writer.close()
    return True
