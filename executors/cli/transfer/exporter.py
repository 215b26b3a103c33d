"""Reads the documents of collections, page by page, and writes them as lines; the next page is fetched meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from executors.cli.transfer.format import CollectionLine, End, Header, document_line, end_line, header_line, parse_line
from executors.client import Document, ScrollPage, VisualSearchClient
from executors.errors import VisualSearchError

# A page has at most so many documents, and fewer of long vectors: it stands in memory three times.
_PAGE_DOCUMENTS: Final = 500
_PAGE_NUMBERS: Final = 1_000_000

Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Position:
    """Where an export stands: the collections to come, after which id in the first of them, and how many are written."""

    collections: Sequence[CollectionLine]
    after: str = ""
    documents: int = 0
    ended: bool = False


def begin(collections: Sequence[CollectionLine]) -> Position:
    """The position of an export of which nothing is written."""
    return Position(collections)


def position_after(header: Header, last: bytes, lines: int) -> Position:
    """Where to go on after the last line that was written.

    Args:
        header: the first line.
        last: the last whole line, which may be the first.
        lines: how many there are.

    Raises:
        VisualSearchError: `invalid_parameter` when they are not lines of one export.
    """
    written = parse_line(last)
    if isinstance(written, End):
        return Position((), documents=written.documents, ended=True)
    if isinstance(written, Header):
        return begin(header.collections)
    names = [each.name for each in header.collections]
    if not isinstance(written, Document) or written.collection not in names:
        raise VisualSearchError("invalid_parameter", "what was written is no export of the collections in its header")
    collections = header.collections[names.index(written.collection) :]
    return Position(collections, after=str(written.id), documents=lines - 1)


class Exporter:
    """Writes one export.

    Args:
        client: of the service.
        where: the filter, as JSON; None for every document.
        write: appends lines; called in a thread.
        on_documents: told how many documents were written.
    """

    def __init__(
        self,
        client: VisualSearchClient,
        where: Mapping[str, Any] | None,
        write: Write,
        on_documents: Callable[[int], None],
    ) -> None:
        self._client = client
        self._where = where
        self._write = write
        self._on_documents = on_documents
        self.documents = 0
        self.complete = False

    async def write(self, header: Header | None, position: Position, stop: asyncio.Event) -> None:
        """Write everything from a position on, until it is complete or `stop` is set (between two pages).

        Args:
            header: written first, unless it stands there already.
            position: where to begin.

        Raises:
            VisualSearchError: the service is gone or refuses; or a file can't be written.
        """
        self.documents = position.documents
        if header is not None:
            await asyncio.to_thread(self._write, header_line(header))
        after = position.after
        for collection in position.collections:
            if not await self._write_collection(collection, after, stop):
                return
            after = ""
        if not position.ended:
            await asyncio.to_thread(self._write, end_line(self.documents))
        self.complete = True

    async def _write_collection(self, collection: CollectionLine, after: str, stop: asyncio.Event) -> bool:
        """Whether it could be written to its end."""
        fetching = asyncio.create_task(self._fetch(collection, after))
        stopping = asyncio.create_task(stop.wait())
        try:
            while True:
                await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    return False
                page = fetching.result()
                if page.next is not None:
                    fetching = asyncio.create_task(self._fetch(collection, page.next))
                await asyncio.to_thread(self._write_page, page)
                self.documents += len(page.documents)
                self._on_documents(len(page.documents))
                if page.next is None:
                    return True
        finally:
            for task in (fetching, stopping):
                task.cancel()
                with suppress(asyncio.CancelledError, VisualSearchError):
                    await task

    async def _fetch(self, collection: CollectionLine, after: str) -> ScrollPage:
        return await self._client.scroll(
            collection=collection.name,
            filter=self._where,
            after=after,
            limit=max(1, min(_PAGE_DOCUMENTS, _PAGE_NUMBERS // max(1, collection.dimension))),
            with_embedding=True,
            with_thumbnail=True,
        )

    def _write_page(self, page: ScrollPage) -> None:
        if page.documents:
            self._write(b"".join(document_line(each) for each in page.documents))
