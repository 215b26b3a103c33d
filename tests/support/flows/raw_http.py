"""HTTP byte by byte, for requests that client libraries would not send."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


async def exchange(port: int, sent: bytes) -> Answered:
    """Send bytes, and read until the server closes; the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            received = await reader.read()
            while piece := await reader.read():
                received += piece
    finally:
        writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = (line.lower().partition(": ") for line in lines)
    headers = {name: value for name, _, value in parts}
    length = int(headers.get("content-length", len(body)))
    return Answered(int(first.split()[1]), {name: _value(lines, name) for name in headers}, body[:length])


def _value(lines: list[str], name: str) -> str:
    return next(line.partition(": ")[2] for line in lines if line.lower().startswith(name + ": "))
