"""A client of the HTTP API: async, with retries, plain results and typed errors.

    async with VisualSearchClient("http://127.0.0.1:8080") as client:
        await client.index([Document(id="cat", blob=Path("cat.jpg").read_bytes())])
        answer = await client.search([Document(blob=Path("query.jpg").read_bytes())], limit=5)
        print(answer[0].matches)
        answer = await client.search(text="a red car", filter={"price": {"$lt": 50}}, group_by="brand")

Every request here may be executed twice without harm (documents without an id are given one before they are sent), so
each is sent again, a bounded number of times, when the service is busy, restarting, or the connection breaks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from executors.client.answers import (
    Answer,
    CollectionInfo,
    EmbeddingResult,
    FoundDocument,
    ScrollPage,
    SearchResult,
    VerifyResult,
    WriteResult,
    embedding_from_json,
    search_from_json,
    verify_from_json,
    write_from_json,
)
from executors.client.base import DEFAULT_COLLECTION, DEFAULT_URL, given_parameters, wanted_parts
from executors.client.collections import CollectionMethods
from executors.client.reading import ReadingMethods
from executors.client.requests import Document, json_body
from executors.client.transport import RetryPolicy
from executors.errors import VisualSearchError
from executors.files.reading import MAX_PICTURE_BYTES, read_file

__all__ = [
    "DEFAULT_COLLECTION",
    "DEFAULT_URL",
    "Answer",
    "CollectionInfo",
    "Document",
    "FoundDocument",
    "RetryPolicy",
    "ScrollPage",
    "SearchOptions",
    "SearchResult",
    "VerifyResult",
    "VisualSearchClient",
    "WriteResult",
]


class SearchOptions(TypedDict, total=False):
    """What both kinds of search take; everything may be left out.

    limit, offset: which matches (with `group_by`: which groups), 10 from the best one on unless said otherwise.
    threshold: only matches with at least this cosine.
    collection: where to search.
    filter: only documents whose tags match, such as `{"brand": "acme", "price": {"$lt": 50}}`.
    group_by: the best match of each group: a tag's path, or `parent`.
    fields: which fields of the matches to return, of `uri`, `tags`, `tags.<path>`, `parent`, `box`; None for all.
    exclude_self: of `search_like`: leave that document out of the matches.
    exact: compare with every document instead of walking the graph.
    ef: the effort of that walk.
    with_embedding: the vectors of the matches, too.
    explain: how each shard searched, in `Answer.explain`.
    allow_partial: take an answer in which a shard is missing.
    """

    limit: int
    offset: int
    threshold: float | None
    collection: str | None
    filter: Mapping[str, Any] | None
    group_by: str | None
    fields: Sequence[str] | None
    exclude_self: bool
    exact: bool
    ef: int | None
    with_embedding: bool
    explain: bool
    allow_partial: bool


class VisualSearchClient(CollectionMethods, ReadingMethods):
    """One service, by its URL. Use it as an async context manager, or call `close`.

    Every method raises `VisualSearchError`: with the code that the service answered when it refused the request as a
    whole, `unavailable` when nothing answers, `deadline_exceeded` when it takes longer than `timeout_s`. A document at
    fault raises nothing: its result carries the error.

    Args:
        url: such as `http://127.0.0.1:8080`.
        timeout_s: how long to wait for one answer.
        retry: how often and how patiently to send again.
        connections: at most so many requests at a time.
    """

    async def index(self, documents: Sequence[Document], *, collection: str | None = None) -> Answer[WriteResult]:
        """Insert or replace documents by id, in one request; acknowledged means on disk."""
        return await self._post("/index", _named(documents), given_parameters(collection=collection), write_from_json)

    async def index_files(
        self,
        paths: Sequence[str | Path],
        *,
        ids: Sequence[str] | None = None,
        collection: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Answer[WriteResult]:
        """Index picture files in one request; the ids are the paths as given, with forward slashes, unless `ids` says.

        Raises:
            VisualSearchError: `unreadable_file` for a file that can't be read or is not a regular one, `image_too_large`;
                nothing was sent.
        """
        names = list(ids) if ids is not None else [Path(path).as_posix() for path in paths]
        documents = [
            Document(id=name, uri=Path(path).as_posix(), blob=await _read(path), tags=tags or {})
            for name, path in zip(names, paths, strict=True)
        ]
        return await self.index(documents, collection=collection)

    async def search(
        self,
        queries: Sequence[Document] = (),
        *,
        text: str | Sequence[str] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer[SearchResult]:
        """The best matches of every query, in request order.

        Args:
            queries: pictures, vectors, or texts.
            text: one text or several, which come after `queries`; the service's model must have a text tower.
            **options: see `SearchOptions`.
        """
        texts = [text] if isinstance(text, str) else text or ()
        documents = [*queries, *(Document(text=each) for each in texts)]
        return await self._post("/search", _named(documents), _search_parameters(options), search_from_json)

    async def search_like(self, document_id: str, **options: Unpack[SearchOptions]) -> Answer[SearchResult]:
        """The documents most similar to an indexed one, which stands first unless excluded. Options: see `SearchOptions`."""
        parameters = _search_parameters(options) | {"like": document_id}
        return await self._post("/search", [], parameters, search_from_json, expected=1)

    async def update(
        self, tags: Mapping[str, Mapping[str, Any]], *, replace_tags: bool = False, collection: str | None = None
    ) -> Answer[WriteResult]:
        """Change tags, by id: merged into those that are there, or in place of them."""
        documents = [Document(id=document_id, tags=given) for document_id, given in tags.items()]
        parameters = given_parameters(mode="replace" if replace_tags else "merge", collection=collection)
        return await self._post("/update", documents, parameters, write_from_json)

    async def delete(self, ids: Sequence[str], *, collection: str | None = None) -> Answer[WriteResult]:
        """Remove documents by id, and what came from them; those that are not there answer `not_found`."""
        documents = [Document(id=each) for each in ids]
        return await self._post("/delete", documents, given_parameters(collection=collection), write_from_json)

    async def delete_matching(
        self,
        filter: Mapping[str, Any],
        *,
        collection: str | None = None,
    ) -> int:
        """Remove the documents that match, and what came from them.

        Returns:
            How many were removed; only those of the last attempt, where the request had to be sent again.

        Raises:
            VisualSearchError: `invalid_filter`; `invalid_parameter` for an empty one.
        """
        parameters = given_parameters(filter=filter, collection=collection)
        return (await self._post("/delete", [], parameters, write_from_json)).deleted

    async def embed(self, documents: Sequence[Document]) -> Answer[EmbeddingResult]:
        """The vectors of pictures and texts, without indexing them."""
        return await self._post("/embed", _named(documents), {}, embedding_from_json)

    async def status(self, *, attempts: int | None = None) -> dict[str, Any]:
        """What `GET /status` says: index, model, stages; `attempts` = 1 for an answer about this very moment."""
        content: dict[str, Any] = await self._transport.json("GET", "/status", attempts=attempts)
        return content

    async def verify(self, *, repair: bool = False) -> VerifyResult:
        """Check every stored document and what is searched; with `repair`, mend what can be.

        That is: remove the older copy of ids that stand twice, and make anew what is made from the documents.
        """
        body = json_body({"parameters": {"repair": True}} if repair else {})
        return verify_from_json(await self._transport.json("POST", "/verify", body))


def _named(documents: Sequence[Document]) -> list[Document]:
    """Every document with an id: a gateway would give a second execution of one request other ids."""
    return [each if each.id is not None else replace(each, id=uuid.uuid4().hex) for each in documents]


def _search_parameters(options: SearchOptions) -> dict[str, Any]:
    """The parameters of `/search`; what is as the service has it by default is left out, but for the limit."""
    given: dict[str, Any] = {"limit": 10} | dict(options)
    wanted = wanted_parts(embedding=bool(given.pop("with_embedding", False)))
    switches = ("exclude_self", "exact", "explain", "allow_partial", "offset")
    return {
        name: value for name, value in given.items() if value is not None and (value or name not in switches)
    } | wanted


async def _read(path: str | Path) -> bytes:
    try:
        return (await asyncio.to_thread(read_file, path, MAX_PICTURE_BYTES, too_large="image_too_large"))[0]
    except VisualSearchError as error:
        raise VisualSearchError(error.code, f"{path}: {error.message}", **error.details) from None
