"""The Python client of the HTTP API."""

from executors.client.answers import (
    Answer,
    CollectionInfo,
    FoundDocument,
    ScrollPage,
    SearchResult,
    VerifyResult,
    WriteResult,
)
from executors.client.base import DEFAULT_COLLECTION, DEFAULT_URL
from executors.client.client import SearchOptions, VisualSearchClient
from executors.client.requests import Document
from executors.client.transport import RetryPolicy

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
