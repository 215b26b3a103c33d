"""A search on one shard: documents and parameters in, hits out. It imports no jina."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.errors import VisualSearchError, as_error
from executors.index.records import Hits, SearchRequest
from executors.index.store import Store
from executors.index.wire.columns import Columns
from executors.index.wire.hits import hits_to_columns
from executors.index.wire.shard_requests import filter_of


async def search_documents(
    store: Store, documents: Sequence[ImageDoc], parameters: Mapping[str, Any]
) -> list[Hits | VisualSearchError | None]:
    """Find the best `offset + limit` hits of every query.

    Returns:
        The hits or the error of each query, in order; None for a query that has an error already.
    """
    found: list[Hits | VisualSearchError | None] = [None] * len(documents)
    for model_id, positions in _by_model(documents):
        queries = [documents[n] for n in positions]
        try:
            request = _request(model_id, queries, parameters)
            hits: Sequence[Hits | VisualSearchError] = await store.search(request)
        except Exception as error:
            hits = [as_error(error, "index")] * len(queries)
        for n, each in zip(positions, hits, strict=True):
            found[n] = each
    return found


def columns_of(hits: Hits, parameters: Mapping[str, Any]) -> Columns:
    """The columns of the hits to send: fewer, if the client chose fields."""
    return hits_to_columns(hits, parameters.get("fields"), explain=bool(parameters.get("explain")))


def _request(model_id: str, queries: Sequence[ImageDoc], parameters: Mapping[str, Any]) -> SearchRequest:
    effort = parameters.get("ef")
    return SearchRequest(
        collection=str(parameters.get("collection") or DEFAULT_COLLECTION),
        queries=np.stack([np.asarray(each.embedding, dtype=np.float32) for each in queries]),
        model_id=model_id,
        limit=int(parameters["limit"]) + int(parameters["offset"]),
        threshold=parameters.get("threshold"),
        where=filter_of(parameters.get("filter")),
        group_by=parameters.get("group_by"),
        exact=bool(parameters.get("exact")),
        ef=None if effort is None else int(effort),
        embedding="embedding" in (parameters.get("with") or ()),
        without=tuple(parameters.get("without") or ()),
        ceiling=parameters.get("score_max"),
    )


def _by_model(documents: Sequence[ImageDoc]) -> list[tuple[str, list[int]]]:
    """The positions of the queries without an error that can be searched together: of one model and one length."""
    groups: dict[tuple[str, int], list[int]] = {}
    for position, document in enumerate(documents):
        if document.error is None:
            key = (document.model_id or "", int(np.size(np.asarray(document.embedding))))
            groups.setdefault(key, []).append(position)
    return [(model_id, positions) for (model_id, _), positions in groups.items()]
