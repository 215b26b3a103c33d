"""Reads the body of an HTTP request within limits on size, time and memory, and unpacks gzip."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from executors.errors import VisualSearchError
from executors.gateway.intake import Held

_GZIP: Final = frozenset({"gzip", "x-gzip"})
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
_PIECE: Final = 1_000_000
# Tools that write several members put 64 KB or more into each; a million empty ones would block the event loop for a minute.
_MOST_MEMBERS: Final = 10_000


class IncomingBody:
    """Reads the body of a request once, piece by piece.

    Args:
        request: the request.
        held: the memory and the time of this body.
        max_bytes: the most bytes, both as sent and unpacked.

    Raises:
        VisualSearchError: `unsupported_media_type` for a Content-Encoding that is not supported, `request_too_large`
            if Content-Length is too large.
    """

    def __init__(self, request: Request, held: Held, max_bytes: int) -> None:
        self.request = request
        self.held = held
        self.max_bytes = max_bytes
        encodings = [each.strip().lower() for each in ",".join(request.headers.getlist("content-encoding")).split(",")]
        encodings = [each for each in encodings if each not in ("", "identity")]
        if len(encodings) > 1 or not _GZIP.issuperset(encodings):
            message = f"Content-Encoding {', '.join(encodings)!r}; send gzip or none"
            raise VisualSearchError("unsupported_media_type", message)
        self._gzip = bool(encodings)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > max_bytes:
            raise self._too_large()
        self._pieces = self._unpacked() if self._gzip else self._received()

    async def receive(self) -> Message:
        """Return the next piece as an ASGI message, for parsers that read a request by themselves."""
        async for piece in self._pieces:
            return {"type": "http.request", "body": piece, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def read(self) -> bytes:
        """Read the whole body.

        Raises:
            VisualSearchError: `request_too_large`, `body_timeout`, `overloaded`, `malformed_body`.
        """
        return b"".join([piece async for piece in self._pieces])

    async def _received(self) -> AsyncIterator[bytes]:
        """Yield the body as it was sent."""
        size, more = 0, True
        async with self.held.arrival():
            while more:
                async with self.held.in_time():
                    message = await self.request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                piece, more = message.get("body", b""), message.get("more_body", False)
                size += len(piece)
                if size > self.max_bytes:
                    raise self._too_large()
                if piece:
                    await self.held.add(len(piece))
                    yield piece

    async def _unpacked(self) -> AsyncIterator[bytes]:
        size, members, packed = 0, 1, zlib.decompressobj(_GZIP_WINDOW)
        begun = False
        try:
            async for sent in self._received():
                while sent:
                    if packed.eof:  # a further gzip member begins
                        packed, members = zlib.decompressobj(_GZIP_WINDOW), members + 1
                        if members > _MOST_MEMBERS:
                            message = f"the gzip body has more than {_MOST_MEMBERS} members"
                            raise VisualSearchError("malformed_body", message)
                    piece = packed.decompress(sent, _PIECE)
                    sent = packed.unconsumed_tail or packed.unused_data
                    begun = True
                    size += len(piece)
                    if size > self.max_bytes:
                        raise self._too_large()
                    if piece:
                        await self.held.add(len(piece), sent=False)
                        yield piece
                        # A small body may unpack to many pieces; other tasks run between them.
                        await asyncio.sleep(0)
        except zlib.error as error:
            raise VisualSearchError("malformed_body", f"the body is not gzip: {error}") from None
        if begun and not packed.eof:
            raise VisualSearchError("malformed_body", "the gzip body is cut off")

    def _too_large(self) -> VisualSearchError:
        message = f"the body is larger than {self.max_bytes} bytes"
        return VisualSearchError("request_too_large", message, limit=self.max_bytes)
