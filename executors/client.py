"""A client of the HTTP API: async, with retries, plain results and typed errors.

    async with VisualSearchClient("http://127.0.0.1:8080") as client:
        await client.index([Document(id="cat", blob=Path("cat.jpg").read_bytes())])
        answer = await client.search([Document(blob=Path("query.jpg").read_bytes())], limit=5)
        print(answer[0].matches)
        answer = await client.search(text="a red car")

Every request here may be executed twice without harm (documents without an id are given one before they are sent), so
each is sent again, a bounded number of times, when the service is busy, restarting, or the connection breaks.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import quote

from executors.client_answers import (
    Answer,
    EmbeddingResult,
    FoundDocument,
    SearchResult,
    VerifyResult,
    WriteResult,
    answer_from_json,
    embedding_from_json,
    error_from_json,
    found_from_json,
    search_from_json,
    verify_from_json,
    write_from_json,
)
from executors.client_requests import Document, encode_request, json_body
from executors.client_transport import RetryPolicy, Transport

__all__ = [
    "Answer",
    "Document",
    "FoundDocument",
    "RetryPolicy",
    "SearchResult",
    "VerifyResult",
    "VisualSearchClient",
    "WriteResult",
]

DEFAULT_URL: Final = "http://127.0.0.1:8080"
# The same as executors.documents.DEFAULT_COLLECTION, whose module takes half a second to import.
DEFAULT_COLLECTION: Final = "images"
_Result = TypeVar("_Result")


class VisualSearchClient:
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

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 120.0,
        retry: RetryPolicy | None = None,
        connections: int = 16,
    ) -> None:
        self._transport = Transport(url, timeout_s, retry or RetryPolicy(), connections)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._transport.url

    async def index(self, documents: Sequence[Document], *, collection: str | None = None) -> Answer[WriteResult]:
        """Insert or replace documents by id, in one request; acknowledged means on disk."""
        return await self._post("/index", _named(documents), _given(collection=collection), write_from_json)

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
            OSError: a file can't be read.
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
        limit: int = 10,
        offset: int = 0,
        threshold: float | None = None,
        collection: str | None = None,
        allow_partial: bool = False,
    ) -> Answer[SearchResult]:
        """The best matches of every query, in request order.

        Args:
            queries: pictures, vectors, or texts.
            text: one text or several, which come after `queries`; the service's model must have a text tower.
            limit, offset, threshold: which matches.
            collection: where to search.
            allow_partial: take an answer in which a shard is missing.
        """
        texts = [text] if isinstance(text, str) else text or ()
        documents = [*queries, *(Document(text=each) for each in texts)]
        parameters = _search_parameters(limit, offset, threshold, collection, allow_partial)
        return await self._post("/search", _named(documents), parameters, search_from_json)

    async def search_like(
        self,
        document_id: str,
        *,
        limit: int = 10,
        offset: int = 0,
        threshold: float | None = None,
        collection: str | None = None,
        allow_partial: bool = False,
    ) -> Answer[SearchResult]:
        """The documents most similar to an indexed one; it stands first among them."""
        parameters = _search_parameters(limit, offset, threshold, collection, allow_partial) | {"like": document_id}
        return await self._post("/search", [], parameters, search_from_json, expected=1)

    async def update(
        self, tags: Mapping[str, Mapping[str, Any]], *, replace_tags: bool = False, collection: str | None = None
    ) -> Answer[WriteResult]:
        """Change tags, by id: merged into those that are there, or in place of them."""
        documents = [Document(id=document_id, tags=given) for document_id, given in tags.items()]
        parameters = _given(mode="replace" if replace_tags else "merge", collection=collection)
        return await self._post("/update", documents, parameters, write_from_json)

    async def delete(self, ids: Sequence[str], *, collection: str | None = None) -> Answer[WriteResult]:
        """Remove documents by id; those that are not there answer `not_found`."""
        documents = [Document(id=each) for each in ids]
        return await self._post("/delete", documents, _given(collection=collection), write_from_json)

    async def get(
        self, ids: Sequence[str], *, collection: str | None = None, with_embedding: bool = False
    ) -> Answer[FoundDocument]:
        """Read documents by id, their vectors on request."""
        parameters = _given(collection=collection) | ({"with": ["embedding"]} if with_embedding else {})
        return await self._post("/get", [Document(id=each) for each in ids], parameters, found_from_json)

    async def embed(self, documents: Sequence[Document]) -> Answer[EmbeddingResult]:
        """The vectors of pictures and texts, without indexing them."""
        return await self._post("/embed", _named(documents), {}, embedding_from_json)

    async def status(self, *, attempts: int | None = None) -> dict[str, Any]:
        """What `GET /status` says: index, model, stages; `attempts` = 1 for an answer about this very moment."""
        content: dict[str, Any] = await self._transport.json("GET", "/status", attempts=attempts)
        return content

    async def verify(self, *, repair: bool = False) -> VerifyResult:
        """Check every stored document; with `repair`, remove the older copy of ids that stand twice."""
        body = json_body({"parameters": {"repair": True}} if repair else {})
        return verify_from_json(await self._transport.json("POST", "/verify", body))

    async def thumbnail(self, document_id: str, *, collection: str = DEFAULT_COLLECTION) -> bytes | None:
        """The small JPEG of an indexed picture; None when the index has none of it."""
        path = f"/thumbnail/{quote(collection, safe='')}/{quote(document_id, safe='')}"
        response = await self._transport.request("GET", path)
        if response.status == 200:
            return response.content
        error = error_from_json(self._transport.parse(response).get("error"))
        if error is None or response.status == 404:
            return None
        raise error

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> VisualSearchClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _post(
        self,
        endpoint: str,
        documents: Sequence[Document],
        parameters: Mapping[str, Any],
        result_from_json: Callable[[Mapping[str, Any]], _Result],
        expected: int | None = None,
    ) -> Answer[_Result]:
        body = encode_request(documents, parameters)
        content = await self._transport.json("POST", endpoint, body)
        return answer_from_json(content, len(documents) if expected is None else expected, result_from_json)


def _named(documents: Sequence[Document]) -> list[Document]:
    """Every document with an id: a gateway would give a second execution of one request other ids."""
    return [each if each.id else replace(each, id=uuid.uuid4().hex) for each in documents]


def _given(**parameters: Any) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}


def _search_parameters(
    limit: int, offset: int, threshold: float | None, collection: str | None, allow_partial: bool
) -> dict[str, Any]:
    parameters = _given(threshold=threshold, collection=collection) | {"limit": limit}
    if offset:
        parameters["offset"] = offset
    if allow_partial:
        parameters["allow_partial"] = True
    return parameters


async def _read(path: str | Path) -> bytes:
    return await asyncio.to_thread(Path(path).read_bytes)
