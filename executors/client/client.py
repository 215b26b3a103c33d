"""The client: one class, a method for each request of the HTTP API."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack

from executors.client.answers import (
    Answer,
    CollectionInfo,
    CollectionQuality,
    EmbeddingResult,
    FacetResult,
    FoundDocument,
    ScrollPage,
    SearchResult,
    VerifyResult,
    WriteResult,
    answer_from_json,
    collection_from_json,
    embedding_from_json,
    facets_from_json,
    found_from_json,
    optional_error,
    page_from_json,
    quality_from_json,
    search_from_json,
    verify_from_json,
    write_from_json,
)
from executors.client.requests import (
    Body,
    Document,
    document_path,
    encode_request,
    given_parameters,
    json_body,
    quoted,
    wanted_parts,
)
from executors.client.terms import Term, encode_terms
from executors.client.transport import RetryPolicy, Transport
from executors.errors import VisualSearchError
from executors.files.reading import MAX_PICTURE_BYTES, read_file

DEFAULT_URL: Final = "http://127.0.0.1:8080"
# The same as executors.documents.DEFAULT_COLLECTION, whose module takes half a second to import.
DEFAULT_COLLECTION: Final = "images"

Result = TypeVar("Result")


class SearchOptions(TypedDict, total=False):
    """The options of `search` and `search_like`; all of them are optional.

    limit, offset: which page of the matches to return (with `group_by`: of the groups); by default the best 10.
    threshold: another name of `score_min`.
    score_min, score_max: return only matches with at least, and at most, this cosine.
    collection: the collection to search.
    filter: search only documents whose tags match, such as `{"brand": "acme", "price": {"$lt": 50}}`.
    group_by: return only the best match of each group. A group is a tag's path, or `parent`.
    fields: which fields of the matches to return, of `uri`, `tags`, `tags.<path>`, `parent`, `box`; None for all.
    exclude_self: with `search_like` and `search_terms`, leave the indexed documents that are named out of the matches.
    exact: compare with every document instead of walking the graph.
    ef: the number of candidates that the walk through the graph keeps.
    with_embedding: return the vectors of the matches as well.
    explain: return how each shard searched, in `Answer.explain`.
    allow_partial: accept an answer in which a shard is missing.
    """

    limit: int
    offset: int
    threshold: float | None
    score_min: float | None
    score_max: float | None
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


class VisualSearchClient:
    """A client of one service. Use it as an async context manager, or call `close`.

    Every method raises `VisualSearchError`: with the service's code if it refused the request as a whole, `unavailable`
    if no service answers, `deadline_exceeded` if the answer takes longer than `timeout_s`. A bad document raises nothing:
    its result carries the error.

    Args:
        url: such as `http://127.0.0.1:8080`.
        timeout_s: timeout of one answer, in seconds.
        retry: how often a failed request is sent again, and after which pauses.
        connections: maximum number of requests in flight.
        api_key: the key that the service asks for, if it does.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 120.0,
        retry: RetryPolicy | None = None,
        connections: int = 16,
        api_key: str | None = None,
    ) -> None:
        self._transport = Transport(url, timeout_s, retry or RetryPolicy(), connections, api_key)

    @property
    def url(self) -> str:
        """The URL of the service."""
        return self._transport.url

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def index(self, documents: Sequence[Document], *, collection: str | None = None) -> Answer[WriteResult]:
        """Insert or replace documents by id, in one request. When it returns, they are on disk."""
        return await self._post("/index", _named(documents), given_parameters(collection=collection), write_from_json)

    async def index_files(
        self,
        paths: Sequence[str | Path],
        *,
        ids: Sequence[str] | None = None,
        collection: str | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> Answer[WriteResult]:
        """Index picture files in one request. The ids are `ids`, or else the paths as given, with forward slashes.

        Raises:
            VisualSearchError: `unreadable_file` if a file can't be read or is not a regular one, `image_too_large`; nothing
                was sent then.
        """
        names = list(ids) if ids is not None else [Path(path).as_posix() for path in paths]
        documents = [
            Document(id=name, uri=Path(path).as_posix(), blob=await _read(path), tags=tags or {})
            for name, path in zip(names, paths, strict=True)
        ]
        return await self.index(documents, collection=collection)

    async def put_document(
        self,
        document_id: str,
        picture: bytes,
        *,
        collection: str | None = None,
        tags: Mapping[str, Any] | None = None,
        uri: str | None = None,
    ) -> WriteResult:
        """Insert or replace one document by its id, with the bytes of a picture. When it returns, it is on disk.

        Raises:
            VisualSearchError: the service refused the document, or the request.
        """
        path = document_path(document_id, collection=collection, tags=tags, uri=uri)
        content = await self._transport.json("PUT", path, Body(picture, "application/octet-stream"))
        result = answer_from_json(content, 1, write_from_json)[0]
        if result.error is not None:
            raise result.error
        return result

    async def search(
        self,
        queries: Sequence[Document] = (),
        *,
        text: str | Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        **options: Unpack[SearchOptions],
    ) -> Answer[SearchResult]:
        """Find the best matches of every query; the results are in the order of the queries.

        Args:
            queries: pictures, vectors, or texts.
            text: one text or several, which come after `queries`. The service's model must have a text tower.
            weights: a number for each query, from -1.5 to 1.5 and not 0: all of them are one query, the sum of their
                vectors by these weights, and there is one result.
            **options: see `SearchOptions`.
        """
        texts = [text] if isinstance(text, str) else text or ()
        documents = [*queries, *(Document(text=each) for each in texts)]
        parameters = _search_parameters(options)
        if weights is None:
            return await self._post("/search", _named(documents), parameters, search_from_json)
        parameters["weights"] = list(weights)
        return await self._post("/search", _named(documents), parameters, search_from_json, expected=1)

    async def search_terms(self, terms: Sequence[Term], **options: Unpack[SearchOptions]) -> Answer[SearchResult]:
        """Search with several terms in one query: the sum of their vectors by their weights. There is one result.

        Args:
            terms: at most 100; the search leads away from those with a negative weight.
            **options: see `SearchOptions`.

        Raises:
            VisualSearchError: the error of a term, with its place (`terms.2: …`); `zero_query` if they cancel each other.
        """
        documents, given = encode_terms(terms)
        parameters = _search_parameters(options) | {"terms": given}
        return await self._post("/search", _named(documents), parameters, search_from_json, expected=1)

    async def search_like(self, document_id: str, **options: Unpack[SearchOptions]) -> Answer[SearchResult]:
        """Find the documents most similar to an indexed one. It comes first, unless `exclude_self` is set.

        Args:
            document_id: the id of the indexed document.
            **options: see `SearchOptions`.
        """
        parameters = _search_parameters(options) | {"like": document_id}
        return await self._post("/search", [], parameters, search_from_json, expected=1)

    async def update(
        self, tags: Mapping[str, Mapping[str, Any]], *, replace_tags: bool = False, collection: str | None = None
    ) -> Answer[WriteResult]:
        """Change tags, by id: merge them into the document's tags, or replace those with `replace_tags`."""
        documents = [Document(id=document_id, tags=given) for document_id, given in tags.items()]
        parameters = given_parameters(mode="replace" if replace_tags else "merge", collection=collection)
        return await self._post("/update", documents, parameters, write_from_json)

    async def delete(self, ids: Sequence[str], *, collection: str | None = None) -> Answer[WriteResult]:
        """Delete documents by id, and those that came from them. The result of a missing document is `not_found`."""
        documents = [Document(id=each) for each in ids]
        return await self._post("/delete", documents, given_parameters(collection=collection), write_from_json)

    async def delete_matching(
        self,
        filter: Mapping[str, Any],
        *,
        collection: str | None = None,
    ) -> int:
        """Delete the documents that match, and those that came from them.

        Returns:
            How many were deleted. If the request was sent again, only those of the last attempt are counted.

        Raises:
            VisualSearchError: `invalid_filter`; `invalid_parameter` if the filter is empty.
        """
        parameters = given_parameters(filter=filter, collection=collection)
        return (await self._post("/delete", [], parameters, write_from_json)).deleted

    async def embed(self, documents: Sequence[Document]) -> Answer[EmbeddingResult]:
        """Return the vectors of pictures and texts, without indexing them."""
        return await self._post("/embed", _named(documents), {}, embedding_from_json)

    async def get(
        self,
        ids: Sequence[str],
        *,
        collection: str | None = None,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
    ) -> Answer[FoundDocument]:
        """Read documents by id, with their vectors and thumbnails if asked for."""
        wanted = wanted_parts(embedding=with_embedding, thumbnail=with_thumbnail)
        parameters = given_parameters(collection=collection) | wanted
        return await self._post("/get", [Document(id=each) for each in ids], parameters, found_from_json)

    async def scroll(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        after: str = "",
        limit: int = 100,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
        allow_partial: bool = False,
    ) -> ScrollPage:
        """Read the next page of the documents that match, in the order of their ids (by code points), after the id `after`.

        Raises:
            VisualSearchError: `collection_not_found`, `invalid_filter`, `invalid_parameter`.
        """
        parameters = given_parameters(collection=collection, filter=filter, after=after or None) | {"limit": limit}
        parameters |= wanted_parts(embedding=with_embedding, thumbnail=with_thumbnail)
        if allow_partial:
            parameters["allow_partial"] = True
        return page_from_json(await self._transport.json("POST", "/scroll", json_body({"parameters": parameters})))

    async def scroll_all(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        after: str = "",
        limit: int = 100,
        with_embedding: bool = False,
        with_thumbnail: bool = False,
    ) -> AsyncIterator[FoundDocument]:
        """Read every document that matches, in the order of the ids, in pages of `limit`.

        A document that is written meanwhile is found if its id comes after the page that is being read.
        """
        following: str | None = after
        while following is not None:
            page = await self.scroll(
                collection=collection,
                filter=filter,
                after=following,
                limit=limit,
                with_embedding=with_embedding,
                with_thumbnail=with_thumbnail,
            )
            for document in page.documents:
                yield document
            following = page.next

    async def count(
        self,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        allow_partial: bool = False,
    ) -> int:
        """Count the documents of a collection, or those that match.

        Raises:
            VisualSearchError: `collection_not_found`, `invalid_filter`.
        """
        parameters = given_parameters(collection=collection, filter=filter)
        if allow_partial:
            parameters["allow_partial"] = True
        content = await self._transport.json("POST", "/count", json_body({"parameters": parameters}))
        return int(content["parameters"]["count"])

    async def facets(
        self,
        paths: Sequence[str],
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        allow_partial: bool = False,
    ) -> FacetResult:
        """Count the values of tags among the documents that match.

        Args:
            paths: the tags: keys joined by dots.
            collection: the collection.
            filter: only documents whose tags match; each facet leaves out the conditions on its own path.
            limit: the most values of each tag to return; `Facet.more` counts the others.
            allow_partial: accept an answer in which a shard is missing.

        Raises:
            VisualSearchError: `collection_not_found`, `invalid_filter`, `too_many_values`.
        """
        parameters: dict[str, Any] = {"paths": list(paths), "limit": limit}
        parameters |= given_parameters(collection=collection, filter=filter)
        if allow_partial:
            parameters["allow_partial"] = True
        return facets_from_json(await self._transport.json("POST", "/facets", json_body({"parameters": parameters})))

    async def quality(
        self, *, collection: str | None = None, sample: int = 100, k: int = 10, ef: int | None = None
    ) -> list[CollectionQuality]:
        """Measure which part of the true best hits the searches of a collection (None: of each) find.

        Args:
            collection: the collection.
            sample: how many stored vectors are the queries.
            k: how many hits of each query are compared.
            ef: the number of candidates that the walk through the graph keeps; None: the default.

        Raises:
            VisualSearchError: `collection_not_found`; `overloaded` while another measurement runs.
        """
        parameters: dict[str, Any] = {"sample": sample, "k": k} | given_parameters(collection=collection, ef=ef)
        content = await self._transport.json("POST", "/quality", json_body({"parameters": parameters}))
        return [quality_from_json(each) for each in content.get("collections") or ()]

    async def thumbnail(self, document_id: str, *, collection: str = DEFAULT_COLLECTION) -> bytes | None:
        """Fetch the thumbnail (JPEG) of an indexed picture; None if the index has none."""
        path = f"/thumbnail?collection={quoted('collection', collection)}&id={quoted('id', document_id)}"
        response = await self._transport.request("GET", path)
        if response.status == 200:
            return response.content
        error = optional_error(self._transport.parse(response).get("error"))
        if error is None or response.status == 404:
            return None
        raise error

    async def create_collection(
        self, name: str, *, model_id: str | None = None, dimension: int | None = None
    ) -> CollectionInfo:
        """Create a collection, bound to a model and a dimension (by default those of the service's model).

        Returns:
            The collection; `result` is `created`, or `unchanged` if it existed already.

        Raises:
            VisualSearchError: `model_mismatch` or `dimension_mismatch` if it exists with another model or dimension.
        """
        body = json_body(given_parameters(model_id=model_id, dimension=dimension))
        content = await self._transport.json("PUT", _collection_path(name), body)
        return collection_from_json(content.get("collection") or {}, content.get("result"))

    async def collections(self) -> list[CollectionInfo]:
        """List all collections, in the order of their names."""
        content = await self._transport.json("GET", "/collections")
        return [collection_from_json(each) for each in content.get("collections") or []]

    async def collection(self, name: str) -> CollectionInfo:
        """Describe one collection.

        Raises:
            VisualSearchError: `collection_not_found`.
        """
        content = await self._transport.json("GET", _collection_path(name))
        return collection_from_json(content.get("collection") or {})

    async def drop_collection(self, name: str) -> int:
        """Drop a collection with all its documents.

        Returns:
            How many documents it had.

        Raises:
            VisualSearchError: `collection_not_found`, also if the first answer was lost and the request was sent again.
        """
        content = await self._transport.json("DELETE", _collection_path(name))
        return int(content.get("documents") or 0)

    async def reindex(self, collection: str | None = None) -> None:
        """Start to rebuild the graphs of a collection (None: of each collection); `status` shows the progress."""
        parameters: dict[str, Any] = given_parameters(collection=collection)
        await self._transport.json("POST", "/reindex", json_body({"parameters": parameters}))

    async def status(self, *, attempts: int | None = None) -> dict[str, Any]:
        """Return the answer of `GET /status`: index, model and stages. With `attempts=1`, don't try again if it fails."""
        content: dict[str, Any] = await self._transport.json("GET", "/status", attempts=attempts)
        return content

    async def verify(self, *, repair: bool = False) -> VerifyResult:
        """Check every stored document, and the structures that are searched.

        With `repair`, remove the older copy of each id that is stored twice, and rebuild what is made from the documents.
        """
        body = json_body({"parameters": {"repair": True}} if repair else {})
        return verify_from_json(await self._transport.json("POST", "/verify", body))

    async def _post(
        self,
        endpoint: str,
        documents: Sequence[Document],
        parameters: Mapping[str, Any],
        result_from_json: Callable[[Mapping[str, Any]], Result],
        expected: int | None = None,
    ) -> Answer[Result]:
        """Post documents; the answer has a result for each, or `expected` results."""
        content = await self._transport.json("POST", endpoint, encode_request(documents, parameters))
        return answer_from_json(content, len(documents) if expected is None else expected, result_from_json)


def _collection_path(name: str) -> str:
    return f"/collections/{quoted('collection', name)}"


def _named(documents: Sequence[Document]) -> list[Document]:
    """Give every document an id, so that a request that is executed twice writes the same ids twice."""
    return [each if each.id is not None else replace(each, id=uuid.uuid4().hex) for each in documents]


def _search_parameters(options: SearchOptions) -> dict[str, Any]:
    """The parameters of `/search`, without those that have the service's default; `limit` is always given."""
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
