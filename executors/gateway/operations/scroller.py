"""Reads documents in the order of their ids from all shards at once, and counts them."""

from __future__ import annotations

from typing import Any, Final

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.flow.chunks import Answer
from executors.gateway.operations.collections import missing_is_empty
from executors.gateway.parameters import CountParameters, ScrollParameters
from executors.gateway.shards.index_client import IndexClient
from executors.index.wire.columns import unpack
from executors.index.wire.pages import documents_of_page

# The most documents of one shard in one message; large pages are read in several messages.
_DOCUMENTS_AT_ONCE: Final = 1_000
_LARGE_DOCUMENTS_AT_ONCE: Final = 250
# A page that reaches this size ends early; `next` names the id to go on after.
_PAGE_BYTES: Final = 64_000_000


class Scroller:
    """Reads the answers of `/scroll` and `/count` from the shards."""

    def __init__(self, index_client: IndexClient) -> None:
        self._index_client = index_client

    async def scroll(self, given: ScrollParameters) -> Answer:
        """Read a page of documents.

        Raises:
            VisualSearchError: `collection_not_found`, `shard_missing`.
        """
        collection = given.collection or DEFAULT_COLLECTION
        answer = self._empty()
        after, more, size = given.after, True, 0
        while more and len(answer.documents) < given.limit and size < _PAGE_BYTES:
            at_once = _LARGE_DOCUMENTS_AT_ONCE if given.with_ else _DOCUMENTS_AT_ONCE
            columns = {
                "collection": collection,
                "filter": given.filter,
                "after": after,
                "limit": min(at_once, given.limit - len(answer.documents)),
                "with": given.with_,
            }
            page = await self._ask("/scroll", columns, collection, given.allow_partial)
            if page is None:
                break
            _account(answer, page)
            size += _size_of(page)
            documents, more = documents_of_page(page, collection)
            answer.documents += documents
            after = str(documents[-1].id) if documents else after
        ended = not more or not answer.documents
        answer.extra["next"] = None if ended else after
        return answer

    async def count(self, given: CountParameters) -> Answer:
        """Count documents.

        Raises:
            VisualSearchError: `collection_not_found`, `shard_missing`.
        """
        collection = given.collection or DEFAULT_COLLECTION
        answer = self._empty()
        columns = {"collection": collection, "filter": given.filter}
        counted = await self._ask("/count", columns, collection, given.allow_partial)
        if counted is not None:
            _account(answer, counted)
        answer.extra["count"] = 0 if counted is None else int(unpack(counted)["count"])
        return answer

    async def _ask(
        self, endpoint: str, columns: dict[str, Any], collection: str, allow_partial: bool
    ) -> ImageDoc | None:
        try:
            return await self._index_client.ask(endpoint, columns, allow_partial=allow_partial)
        except VisualSearchError as error:
            if error.code == "collection_not_found" and missing_is_empty(collection):
                return None
            raise

    def _empty(self) -> Answer:
        shards = self._index_client.joined().shards
        return Answer([], shards_total=shards, shards_answered=shards)


def _account(answer: Answer, report: ImageDoc) -> None:
    answer.shards_total = max(answer.shards_total, report.shards_total or 0)
    answer.shards_answered = min(answer.shards_answered, report.shards_answered or 0)


def _size_of(page: ImageDoc) -> int:
    vectors = 0 if page.embedding is None else int(page.embedding.nbytes)
    return len(page.hits or b"") + len(page.blob or b"") + vectors
