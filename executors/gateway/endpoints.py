"""The only list of the API's endpoints, with one row for each.

The HTTP routes, gRPC, the description of the API, the check of keys and the account of lost shards read it. To add an
endpoint, add a row here, a model to parameters.py, another to answers.py, and a function to operations/.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from pydantic import BaseModel

from executors.errors import ErrorCode
from executors.gateway import answers, examples, parameters, rendering
from executors.gateway.document_checks import Takes
from executors.gateway.flow.chunks import Answer
from executors.gateway.metrics import scrape
from executors.gateway.operations import (
    collections,
    delete,
    embed,
    get,
    index,
    maintenance,
    scroll,
    search,
    status,
    update,
)
from executors.gateway.operations.analysis import facets, quality, watch
from executors.gateway.operations.request import Request
from executors.gateway.operations.service import SearchService
from executors.gateway.rendering import Rendering
from executors.keys.key import Role

Operation: TypeAlias = Callable[[SearchService, Request[Any]], Awaitable[Answer]]

_BY_ID: Final[tuple[ErrorCode, ...]] = ("not_found", "collection_not_found")
_QUERIES: Final[tuple[ErrorCode, ...]] = ("text_not_supported", "invalid_text")
_READING: Final[tuple[ErrorCode, ...]] = ("invalid_filter", "collection_not_found")


@dataclass(frozen=True, slots=True)
class Resource:
    """The HTTP method and path of an endpoint, if it is not a POST to the endpoint's own path.

    Args:
        method: the HTTP method.
        path: the path; `{name}` in it is the collection.
    """

    method: Literal["GET", "PUT", "DELETE"]
    path: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Args:
        path: the path that gRPC callers post to and, without `resource`, HTTP callers as well.
        parameters: the model of its parameters.
        answer: the model of its answer over HTTP; None for a picture.
        operation: the function that does the work.
        rendering: makes the HTTP or gRPC answer.
        takes: the purpose of its documents.
        role: the kind of caller who may use it.
        summary: one line for the description.
        success: the meaning of an answer with status 200, for the description.
        writes: whether it changes documents or collections; if so, all shards have to answer.
        errors: the error codes that it can give in addition to those of its body and documents.
        examples: valid bodies, for the description.
        resource: its HTTP method and path; None for a POST to `path`.
        instead: a parameter that callers may send instead of documents.
        beside: a parameter that callers may send with documents or without any.
        grpc: whether gRPC callers may post to it.
        always: whether it answers even if the flow is not ready, without a place among the requests in flight.
        without_collection: what a request concerns that names no collection: the default one, all of them, or nothing that
            is stored.
    """

    path: str
    parameters: type[BaseModel]
    answer: type[BaseModel] | None
    operation: Operation
    rendering: Rendering
    takes: Takes
    role: Role
    summary: str
    success: str = "At least one document succeeded"
    writes: bool = False
    errors: tuple[ErrorCode, ...] = ()
    examples: tuple[examples.Example, ...] = ()
    resource: Resource | None = None
    instead: str | None = None
    beside: str | None = None
    grpc: bool = True
    always: bool = False
    without_collection: Literal["default", "all", "nothing"] = "default"


STATUS: Final = Endpoint(
    "/status",
    parameters.NoParameters,
    answers.StatusAnswer,
    status.status,
    rendering.REPORTED,
    Takes.NOTHING,
    "search",
    "Report the state of the index, the model, the stages and this gateway",
    "The report",
    resource=Resource("GET", "/status"),
    always=True,
    without_collection="nothing",
)
METRICS: Final = Endpoint(
    "/metrics",
    parameters.NoParameters,
    None,
    scrape.scrape,
    rendering.REPORTED,
    Takes.NOTHING,
    "admin",
    "Report the metrics of every process in Prometheus' text format",
    "The metrics",
    resource=Resource("GET", "/metrics"),
    grpc=False,
    always=True,
    without_collection="all",
)
THUMBNAIL: Final = Endpoint(
    "/thumbnail",
    parameters.ThumbnailParameters,
    None,
    get.thumbnail,
    rendering.FOUND,
    Takes.IDS,
    "search",
    "Read the thumbnail of a document, a small JPEG",
    "The picture",
    errors=("invalid_id", *_BY_ID),
    resource=Resource("GET", "/thumbnail"),
    grpc=False,
)
WATCH: Final = Endpoint(
    "/watch",
    parameters.NoParameters,
    None,
    watch.watch,
    rendering.REPORTED,
    Takes.NOTHING,
    "search",
    "Follow health, rebuilds of graphs and long requests, as server-sent events",
    "The events; they end when the gateway stops",
    errors=("overloaded", "draining", "invalid_parameter"),
    resource=Resource("GET", "/watch"),
    grpc=False,
    always=True,
    without_collection="all",
)

ENDPOINTS: Final = (
    Endpoint(
        "/index",
        parameters.IndexParameters,
        answers.WriteAnswer,
        index.index,
        rendering.WRITTEN,
        Takes.CONTENT,
        "write",
        "Store pictures or vectors; a document with the same id is replaced",
        writes=True,
        errors=("stale_version",),
        examples=examples.INDEX,
    ),
    Endpoint(
        "/search",
        parameters.SearchParameters,
        answers.SearchAnswer,
        search.search,
        rendering.SEARCHED,
        Takes.QUERIES,
        "search",
        "Find the most similar documents for each picture, text, vector or indexed document (`like`), or for several `terms`",
        errors=(*_QUERIES, *_BY_ID, "invalid_filter", "zero_query"),
        examples=examples.SEARCH,
        instead="like",
        beside="terms",
    ),
    Endpoint(
        "/update",
        parameters.UpdateParameters,
        answers.WriteAnswer,
        update.update,
        rendering.WRITTEN,
        Takes.TAGS,
        "write",
        "Change tags; a missing document is an error, `not_found`",
        writes=True,
        errors=(*_BY_ID, "stale_version"),
        examples=examples.UPDATE,
    ),
    Endpoint(
        "/get",
        parameters.GetParameters,
        answers.GetAnswer,
        get.get,
        rendering.FOUND,
        Takes.IDS,
        "search",
        "Read documents by id; a missing document is an error, `not_found`",
        errors=_BY_ID,
        examples=examples.GET,
    ),
    Endpoint(
        "/embed",
        parameters.EmbedParameters,
        answers.EmbedAnswer,
        embed.embed,
        rendering.EMBEDDED,
        Takes.QUERIES,
        "search",
        "Return the vectors of pictures and texts, without storing anything",
        errors=_QUERIES,
        examples=examples.EMBED,
        without_collection="nothing",
    ),
    Endpoint(
        "/scroll",
        parameters.ScrollParameters,
        answers.ScrollAnswer,
        scroll.scroll,
        rendering.FOUND,
        Takes.NOTHING,
        "search",
        "Read documents in the order of their ids; send `next` of the answer as `after` for the next page",
        errors=_READING,
        examples=examples.SCROLL,
    ),
    Endpoint(
        "/count",
        parameters.CountParameters,
        answers.CountAnswer,
        scroll.count,
        rendering.WRITTEN,
        Takes.NOTHING,
        "search",
        "Count documents",
        errors=_READING,
        examples=examples.COUNT,
    ),
    Endpoint(
        "/delete",
        parameters.DeleteParameters,
        answers.DeleteAnswer,
        delete.delete,
        rendering.DELETED,
        Takes.IDS,
        "write",
        "Remove documents by id (`data`) or by filter, and the documents that came from them (`parent`)",
        writes=True,
        errors=(*_BY_ID, "invalid_filter", "stale_version"),
        examples=examples.DELETE,
        instead="filter",
    ),
    Endpoint(
        "/verify",
        parameters.VerifyParameters,
        answers.VerifyAnswer,
        maintenance.verify,
        rendering.REPORTED,
        Takes.NOTHING,
        "admin",
        "Read back the whole index and check it",
        "The faults that were found, and the repairs that were made",
        examples=examples.EMPTY,
        without_collection="all",
    ),
    Endpoint(
        "/reindex",
        parameters.ReindexParameters,
        answers.ReindexAnswer,
        maintenance.reindex,
        rendering.REPORTED,
        Takes.NOTHING,
        "admin",
        "Begin to rebuild the graphs that searches use; /status shows the progress",
        "The rebuild has begun",
        errors=("collection_not_found",),
        examples=examples.EMPTY,
        without_collection="all",
    ),
    STATUS,
    METRICS,
    THUMBNAIL,
    Endpoint(
        "/collections/list",
        parameters.NoParameters,
        answers.CollectionsAnswer,
        collections.list_collections,
        rendering.REPORTED,
        Takes.NOTHING,
        "search",
        "List all collections, in the order of their names",
        "The collections",
        resource=Resource("GET", "/collections"),
        without_collection="nothing",
    ),
    Endpoint(
        "/collections/describe",
        parameters.CollectionParameters,
        answers.CollectionAnswer,
        collections.describe_collection,
        rendering.REPORTED,
        Takes.NOTHING,
        "search",
        "Describe one collection",
        "The collection",
        errors=("collection_not_found",),
        resource=Resource("GET", "/collections/{name}"),
    ),
    Endpoint(
        "/collections/create",
        parameters.CreateParameters,
        answers.CreateAnswer,
        collections.create_collection,
        rendering.REPORTED,
        Takes.NOTHING,
        "admin",
        "Create a collection; by default it is bound to the flow's model",
        "The collection was created, or exists with the same model and dimension (`unchanged`)",
        writes=True,
        errors=("model_mismatch", "dimension_mismatch"),
        examples=examples.EMPTY,
        resource=Resource("PUT", "/collections/{name}"),
    ),
    Endpoint(
        "/collections/drop",
        parameters.CollectionParameters,
        answers.DropAnswer,
        collections.drop_collection,
        rendering.REPORTED,
        Takes.NOTHING,
        "admin",
        "Remove a collection with all its documents",
        "The collection was removed",
        writes=True,
        errors=("collection_not_found", "stale_version"),
        resource=Resource("DELETE", "/collections/{name}"),
    ),
    Endpoint(
        "/facets",
        parameters.FacetParameters,
        answers.FacetAnswer,
        facets.facets,
        rendering.WRITTEN,
        Takes.NOTHING,
        "search",
        "Count the values of tags under a filter, each without the filter's conditions on itself",
        "The counts, exact over all shards",
        errors=(*_READING, "too_many_values"),
        examples=examples.FACETS,
    ),
    Endpoint(
        "/quality",
        parameters.QualityParameters,
        answers.QualityAnswer,
        quality.quality,
        rendering.REPORTED,
        Takes.NOTHING,
        "admin",
        "Measure which part of the true best hits searches through the graph find, with stored vectors as queries",
        "The precision and the times of each collection",
        errors=("collection_not_found", "store_invalid"),
        examples=examples.QUALITY,
        without_collection="all",
    ),
    WATCH,
)
BY_PATH: Final = {endpoint.path: endpoint for endpoint in ENDPOINTS}
