"""A shard that was missed: as long as it may be away, writes are refused before any other shard applies them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

from executors.documents import ImageDoc
from executors.errors import ErrorCode

_MISSED: Final[frozenset[ErrorCode]] = frozenset({"shard_missing", "unavailable"})


class Shards(Protocol):
    """The part of `IndexClient` that is needed here."""

    async def shard_reports(self, *, whole: bool = False) -> object:
        """Raises `shard_missing`, with `whole`, when a shard does not answer."""


class LostShards:
    """Remembers that an answer lacked a shard until all of them have answered again."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self._missed = False

    async def check(self, *, writes: bool) -> None:
        """Before a request: refuse a write that only a part of the shards would apply.

        Raises:
            VisualSearchError: `shard_missing`, `unavailable`.
        """
        if self._missed and writes:
            await self._shards.shard_reports(whole=True)
            self._missed = False

    def note(self, code: ErrorCode) -> None:
        """A request failed with this code."""
        self._missed = self._missed or code in _MISSED

    def note_all(self, documents: Iterable[ImageDoc]) -> None:
        """These documents were answered."""
        for document in documents:
            if document.error is not None:
                self.note(document.error.code)
