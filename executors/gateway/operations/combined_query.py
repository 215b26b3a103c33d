"""The one query of a search with `terms` or `weights`: the weighted sum of the vectors of several queries."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.document_checks import Takes, admit_documents, check_id
from executors.gateway.operations.get import read
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import SearchParameters
from executors.gateway.query_terms import QueryTerm, check_positions, weighted_sum


@dataclass(slots=True)
class _Part:
    """One term: where the caller named it, its weight, and the document that has, or gets, its vector.

    `stored` says that the vector was read from the index.
    """

    place: str
    weight: float
    document: ImageDoc
    stored: bool = False


async def combined_query(service: SearchService, request: Request[SearchParameters]) -> ImageDoc:
    """Return the query for `terms` or `weights`: a document with the weighted sum of the vectors.

    Raises:
        VisualSearchError: the error of a term, with its place in the message; `zero_query` if the terms cancel each
            other; `invalid_parameter`; a stage does not answer.
    """
    given = request.parameters
    parts = _parts(request)
    for part in parts:
        _refuse_faulty(part)
    await _read_liked(service, given, parts)
    await _embed(service, parts)
    first = parts[0]
    for part in parts:
        _check_fits(part, first)
    vector = weighted_sum([np.asarray(part.document.embedding) for part in parts], [part.weight for part in parts])
    return ImageDoc.from_values(
        id=uuid.uuid4().hex, collection=given.collection, embedding=vector, model_id=first.document.model_id
    )


def _parts(request: Request[SearchParameters]) -> list[_Part]:
    """Return the terms with their documents, in order; those of the request are named by position."""
    given, documents = request.parameters, request.documents
    if given.weights is not None:
        if len(given.weights) != len(documents):
            message = f"weights: has {len(given.weights)} numbers for {len(documents)} documents"
            raise VisualSearchError("invalid_parameter", message)
        return [_Part(f"data.{n}", weight, documents[n]) for n, weight in enumerate(given.weights)]
    terms = given.terms or ()
    check_positions(terms, len(documents))
    return [
        _Part(f"terms.{n}", term.weight, _document_of(term) if term.data is None else documents[term.data])
        for n, term in enumerate(terms)
    ]


def _document_of(term: QueryTerm) -> ImageDoc:
    """Return a document for a term that is not one of the request's; only its id for `like`."""
    if term.like is not None:
        return ImageDoc.from_values(id=term.like)
    document = ImageDoc.from_values(text=term.text, embedding=term.embedding)
    admit_documents([document], Takes.QUERIES, collection=None)
    return document


def _refuse_faulty(part: _Part) -> None:
    """Raise the error of a document, with the place of its term in front.

    Raises:
        VisualSearchError: the document's error.
    """
    if part.document.error is None:
        return
    raise _placed(part.document.error.to_error(), part.place)


def _placed(error: VisualSearchError, place: str) -> VisualSearchError:
    placed = VisualSearchError(error.code, f"{place}: {error.message}")
    placed.details = {**error.details, "place": place}
    return placed


async def _read_liked(service: SearchService, given: SearchParameters, parts: Sequence[_Part]) -> None:
    """Give the terms that name an indexed document its vector."""
    liked: dict[str, ImageDoc] = {}
    named = [(part, term.like) for part, term in zip(parts, given.terms or (), strict=False) if term.like is not None]
    for part, name in named:
        try:
            check_id(name)
        except VisualSearchError as error:
            raise _placed(error, f"{part.place}.like") from None
        liked[name] = ImageDoc.from_values(id=name, collection=given.collection)
    if not liked:
        return
    answer = await read(service, list(liked.values()), ["embedding"])
    service.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
    found = dict(zip(liked, answer.documents, strict=True))
    for part, name in named:
        part.place, part.document, part.stored = f"{part.place}.like", found[name], True
        _refuse_faulty(part)


async def _embed(service: SearchService, parts: Sequence[_Part]) -> None:
    """Give the documents of the request, texts and ready vectors a checked vector of length 1, each document once."""
    unique = {id(part.document): part.document for part in parts if not part.stored}
    if not unique:
        return
    pipeline = service.stages.topology.pipeline
    answer = await service.chunks.send(
        list(unique.values()), lambda chunk: service.stages.post("/embed", chunk, target=pipeline)
    )
    embedded = dict(zip(unique, answer.documents, strict=True))
    for part in parts:
        part.document = embedded.get(id(part.document), part.document)
        _refuse_faulty(part)


def _check_fits(part: _Part, first: _Part) -> None:
    """Refuse a term whose vector can't be added to the first one's.

    Raises:
        VisualSearchError: `model_mismatch`, `dimension_mismatch`.
    """
    one, other = part.document, first.document
    if one.model_id != other.model_id:
        message = (
            f"{part.place}: its vector is of the model {one.model_id!r}, that of {first.place} of {other.model_id!r}"
        )
        raise VisualSearchError("model_mismatch", message, place=part.place)
    sizes = np.size(np.asarray(one.embedding)), np.size(np.asarray(other.embedding))
    if sizes[0] != sizes[1]:
        message = f"{part.place}: its vector has {sizes[0]} numbers, that of {first.place} {sizes[1]}"
        raise VisualSearchError("dimension_mismatch", message, place=part.place, got=sizes[0], expected=sizes[1])
