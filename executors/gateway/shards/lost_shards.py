"""Remembers that a shard may be missing; until all have answered again, no write is sent that only some would apply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from executors.documents import ImageDoc
from executors.errors import ErrorCode

_MISSED: Final[frozenset[ErrorCode]] = frozenset({"shard_missing", "unavailable"})


class Shards(Protocol):
    """The part of `IndexClient` that is needed here."""

    async def shard_reports(self, *, whole: bool = False) -> object:
        """With `whole`, raise `shard_missing` if a shard does not answer."""


class LostShards:
    """Remembers that an answer lacked a shard until all of them have answered again."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._missed = False

    async def check(self, *, writes: bool) -> None:
        """Refuse a write that only some of the shards would apply; called before each request.

        Raises:
            VisualSearchError: `shard_missing`, `unavailable`.
        """
        if self._missed and writes:
            await self._shards.shard_reports(whole=True)
            self._missed = False

    def note(self, code: ErrorCode) -> None:
        """Note that a request failed with this code."""
        self._missed = self._missed or code in _MISSED

    def note_all(self, documents: Iterable[ImageDoc]) -> None:
        """Note the errors of answered documents."""
        for document in documents:
            if document.error is not None:
                self.note(document.error.code)
