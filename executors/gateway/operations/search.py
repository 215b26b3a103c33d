"""`/search`: the best matches of every query: a picture, a text, a vector, an indexed document, or several in one."""

from __future__ import annotations

import numpy as np

from executors.documents import DEFAULT_COLLECTION, ImageDoc
from executors.gateway.document_checks import check_id
from executors.gateway.flow.chunks import Answer, counted
from executors.gateway.flow.route import StageAnswer
from executors.gateway.operations.collections import missing_is_empty
from executors.gateway.operations.combined_query import combined_query
from executors.gateway.operations.get import read
from executors.gateway.operations.request import Request
from executors.gateway.operations.search_parameters import account_of_plans, shard_parameters
from executors.gateway.operations.service import SearchService
from executors.gateway.parameters import THUMBNAIL_URL, SearchParameters


async def search(service: SearchService, request: Request[SearchParameters]) -> Answer:
    """Find the best matches of every query.

    Raises:
        VisualSearchError: a stage does not answer; `not_found` for `like`; the error of a term.
    """
    given = request.parameters
    documents = request.documents
    if given.like is not None:
        documents = [await _like(service, given)]
    elif given.terms is not None or given.weights is not None:
        documents = [await combined_query(service, request)]
    sent = shard_parameters(given)

    async def query(chunk: list[ImageDoc]) -> StageAnswer:
        answer = await service.stages.post("/search", chunk, sent)
        for document in answer.documents:
            error = document.error
            if error is not None and error.code == "collection_not_found" and missing_is_empty(given.collection):
                document.error = None
        return answer

    answer = await service.chunks.send(documents, query)
    service.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
    if given.fields is None or THUMBNAIL_URL in given.fields:
        answer.thumbnails_in = given.collection or DEFAULT_COLLECTION
    if given.explain:
        answer.extra["explain"] = account_of_plans(answer.documents)
    return counted(answer)


async def _like(service: SearchService, given: SearchParameters) -> ImageDoc:
    """Return the query for `like`: a document with the vector of the indexed document.

    Raises:
        VisualSearchError: `invalid_id`, `not_found`, `shard_missing`.
    """
    check_id(given.like)
    wanted = ImageDoc.from_values(id=given.like, collection=given.collection)
    answer = await read(service, [wanted], ["embedding"])
    service.index_client.check_whole(answer.documents, allow_partial=given.allow_partial)
    found = answer.documents[0]
    if found.error is not None:
        raise found.error.to_error()
    return ImageDoc.from_values(
        id=found.id,
        collection=given.collection,
        embedding=np.asarray(found.embedding),
        model_id=found.model_id,
    )
