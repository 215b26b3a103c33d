"""Reads the documents of collections page by page, and writes them as lines while the next page is fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from executors.cli.transfer.format import CollectionLine, End, Header, document_line, end_line, header_line, parse_line
from executors.client import Document, ScrollPage, VisualSearchClient
from executors.errors import VisualSearchError

# Maximum number of documents of a page; fewer if vectors are long, because a page is in memory three times.
_PAGE_DOCUMENTS: Final = 500
_PAGE_NUMBERS: Final = 1_000_000

Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class Position:
    """How far an export is: the collections to write, the id to continue after in the first, and the documents written."""

    collections: Sequence[CollectionLine]
    after: str = ""
    documents: int = 0
    ended: bool = False


def begin(collections: Sequence[CollectionLine]) -> Position:
    """The position at the beginning of an export."""
    return Position(collections)


def position_after(header: Header, last: bytes, lines: int) -> Position:
    """The position after the last line that was written.

    Args:
        header: the first line.
        last: the last complete line, which may be the first.
        lines: how many complete lines there are.

    Raises:
        VisualSearchError: `invalid_parameter` if they are not lines of one export.
    """
    written = parse_line(last)
    if isinstance(written, End):
        return Position((), documents=written.documents, ended=True)
    if isinstance(written, Header):
        return begin(header.collections)
    names = [each.name for each in header.collections]
    if not isinstance(written, Document) or written.collection not in names:
        raise VisualSearchError("invalid_parameter", "the part file is not an export of the collections in its header")
    collections = header.collections[names.index(written.collection) :]
    return Position(collections, after=str(written.id), documents=lines - 1)


class Exporter:
    """Writes one export.

    Args:
        client: the client of the service.
        where: the filter; None for every document.
        write: appends lines; it is called in a thread.
        on_documents: called with the number of documents after each page.
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
        """Write from a position on, until the export is complete or `stop` is set (between two pages).

        Args:
            header: the header to write first; None if it is already written.
            position: where to begin.
            stop: ends the export when it is set.

        Raises:
            VisualSearchError: the service does not answer or refuses, or the file can't be written.
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
        """Write one collection; return whether it is complete."""
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
