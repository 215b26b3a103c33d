"""The Python client of the HTTP API: asynchronous, with retries, plain results and typed errors. It needs no Jina.

    from executors.client import Document, VisualSearchClient

    async with VisualSearchClient("http://127.0.0.1:8080") as client:
        await client.index([Document(id="cat", blob=Path("cat.jpg").read_bytes())])
        answer = await client.search([Document(blob=Path("query.jpg").read_bytes())], limit=5)
        print(answer[0].matches)
        answer = await client.search(text="a red car", filter={"price": {"$lt": 50}}, group_by="brand")

Every request may be executed twice without harm: the client gives each document without an id one before it sends it. So
when the service is busy or restarting, or the connection breaks, the client sends the request again, a bounded number of
times.
"""

from executors.client.answers import (
    Answer,
    CollectionInfo,
    CollectionQuality,
    EmbeddingResult,
    Facet,
    FacetResult,
    FacetValue,
    FoundDocument,
    Hit,
    ScrollPage,
    SearchResult,
    VerifyResult,
    WriteResult,
)
from executors.client.client import DEFAULT_COLLECTION, DEFAULT_URL, SearchOptions, VisualSearchClient
from executors.client.requests import Document
from executors.client.terms import Term
from executors.client.transport import RetryPolicy

__all__ = [
    "DEFAULT_COLLECTION",
    "DEFAULT_URL",
    "Answer",
    "CollectionInfo",
    "CollectionQuality",
    "Document",
    "EmbeddingResult",
    "Facet",
    "FacetResult",
    "FacetValue",
    "FoundDocument",
    "Hit",
    "RetryPolicy",
    "ScrollPage",
    "SearchOptions",
    "SearchResult",
    "Term",
    "VerifyResult",
    "VisualSearchClient",
    "WriteResult",
]
