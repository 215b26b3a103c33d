"""The parameters of each endpoint as strict models, the same for HTTP and gRPC."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from executors.document_values import COLLECTION_PATTERN, MAX_COLLECTION_LENGTH, MAX_ID_BYTES
from executors.errors import VisualSearchError
from executors.gateway.query_terms import Terms, Weights
from executors.index.filters import parse_filter
from executors.index.records import MAX_DIMENSION
from executors.index.wire.hits import FIELDS, TAG_PREFIX

MAX_HITS: Final = 10_000
MAX_EFFORT: Final = 10_000
MAX_SAMPLE: Final = 1_000
MAX_QUALITY_HITS: Final = 1_000
MAX_FACETS: Final = 16
MAX_FACET_VALUES: Final = 1_000
THUMBNAIL_URL: Final = "thumbnail_url"
"""The field of a match that the gateway makes; the shards know the others."""


def _whole(value: Any) -> Any:
    """Accept 10.0 as 10, because gRPC carries every number as a double; refuse true and "10"."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError("must be a whole number")
    return int(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return float(value)


def _filter_text(value: Any) -> Any:
    """Return a filter as JSON text, the form that the shards get, after parsing it once to refuse an invalid one.

    Raises:
        VisualSearchError: `invalid_filter`; pydantic does not catch it.
    """
    if value is None:
        return None
    parse_filter(value)
    return orjson.dumps(value).decode()


def _field_name(name: str) -> str:
    known = (*FIELDS, THUMBNAIL_URL)
    if name not in known and not (name.startswith(TAG_PREFIX) and name != TAG_PREFIX):
        raise ValueError(f"{name!r} is not one of {', '.join(known)}, tags.<path>")
    return name


FilterText = Annotated[
    str | None,
    BeforeValidator(_filter_text),
    WithJsonSchema(
        {
            "type": "object",
            "examples": [
                {"brand": "acme", "price": {"$lt": 50}},
                {"taken": {"$gte": {"$datetime": "2024-05-01T10:00:00+02:00"}}},
            ],
        }
    ),
]
FieldName = Annotated[str, StringConstraints(max_length=512), AfterValidator(_field_name)]
TagPath = Annotated[str, StringConstraints(min_length=1, max_length=512)]
WholeNumber = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
CollectionName = Annotated[str, StringConstraints(pattern=COLLECTION_PATTERN, max_length=MAX_COLLECTION_LENGTH)]
# This limit counts characters, of which no text has more than bytes; `check_id` counts the bytes.
DocumentId = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_BYTES)]


class Parameters(BaseModel):
    """The parameter that every endpoint takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: CollectionName | None = Field(None, description="the collection (default: `images`)")


class CollectionParameters(BaseModel):
    """`/collections/describe`, `/collections/drop`: the collection must be named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: CollectionName


class CreateParameters(CollectionParameters):
    """`/collections/create`"""

    model_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = Field(
        None, description="the model of its vectors (default: the flow's)"
    )
    dimension: WholeNumber | None = Field(
        None, ge=1, le=MAX_DIMENSION, description="the length of its vectors (default: that of the flow's model)"
    )


_REFRESH: Final[Any] = Field(
    True, strict=True, description="let searches see the write at once (`false`: OpenSearch shows it within a second)"
)


class NoParameters(BaseModel):
    """`/collections/list`"""

    model_config = ConfigDict(extra="forbid", frozen=True)


class IndexParameters(Parameters):
    """`/index`"""

    refresh: bool = _REFRESH


class DeleteParameters(Parameters):
    """`/delete`"""

    filter: FilterText = Field(None, description="instead of `data`: remove the documents whose tags match")


class ReindexParameters(Parameters):
    """`/reindex`"""

    collection: CollectionName | None = Field(None, description="the collection (default: all collections)")


class EmbedParameters(Parameters):
    """`/embed`"""


class SearchParameters(Parameters):
    """`/search`"""

    limit: WholeNumber = Field(10, ge=1, le=MAX_HITS, description="the most hits for each query")
    offset: WholeNumber = Field(0, ge=0, le=MAX_HITS, description="how many of the best hits to skip")
    threshold: Number | None = Field(None, ge=-1, le=1, description="another name of `score_min`")
    allow_partial: bool = Field(False, strict=True, description="accept an answer in which a shard is missing")
    like: DocumentId | None = Field(None, description="search with the vector of this indexed document")
    exclude_self: bool = Field(
        False, strict=True, description="leave the documents that `like` and the terms name out of the hits"
    )
    filter: FilterText = Field(None, description="only documents whose tags match")
    group_by: Annotated[str, StringConstraints(min_length=1, max_length=512)] | None = Field(
        None, description="the best match of each group: a tag's path, or `parent`; limit and offset count groups"
    )
    fields: tuple[FieldName, ...] | None = Field(
        None,
        description="the fields of a match to return with id and score: `uri`, `tags`, `tags.<path>`, `parent`, `box`, "
        "`thumbnail_url`",
    )
    with_: tuple[Literal["embedding"], ...] = Field(
        (), alias="with", description="further fields to return: `embedding`"
    )
    exact: bool = Field(False, strict=True, description="compare with every document instead of walking the graph")
    ef: WholeNumber | None = Field(
        None, ge=1, le=MAX_EFFORT, description="how many candidates the walk through the graph keeps"
    )
    explain: bool = Field(False, strict=True, description="return how each shard searched")
    score_min: Number | None = Field(None, ge=-1, le=1, description="only hits with at least this cosine")
    score_max: Number | None = Field(None, ge=-1, le=1, description="only hits with at most this cosine")
    terms: Terms | None = Field(
        None, description="one query from several: the sum of the vectors of all terms by their weights"
    )
    weights: Weights | None = Field(
        None, description="one query from all documents of `data`: a weight for each of them"
    )

    @model_validator(mode="after")
    def _window(self) -> SearchParameters:
        if self.limit + self.offset > MAX_HITS:
            raise ValueError(f"limit + offset must be at most {MAX_HITS}")
        return self

    @model_validator(mode="after")
    def _one_query(self) -> SearchParameters:
        given = [name for name in ("like", "terms", "weights") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} can't be combined: each of them says what the query is")
        return self

    @model_validator(mode="after")
    def _self(self) -> SearchParameters:
        if self.exclude_self and not self.liked:
            raise ValueError("exclude_self needs `like`: it leaves out the document that `like` names")
        return self

    @model_validator(mode="after")
    def _bounds(self) -> SearchParameters:
        if self.threshold is not None and self.score_min is not None:
            raise ValueError("threshold and score_min are two names of the same bound; send one of them")
        if self.floor is not None and self.score_max is not None and self.floor > self.score_max:
            raise ValueError(f"score_max must be at least the lower bound, {self.floor:g}")
        return self

    @property
    def floor(self) -> float | None:
        """The lowest cosine of a hit, by either of its names."""
        return self.threshold if self.score_min is None else self.score_min

    @property
    def liked(self) -> tuple[str, ...]:
        """The ids of the indexed documents that the search starts from, each once."""
        named = [self.like, *(term.like for term in self.terms or ())]
        return tuple(dict.fromkeys(each for each in named if each is not None))


class UpdateParameters(Parameters):
    """`/update`"""

    mode: Literal["merge", "replace"] = Field(
        "merge", description="keep the tags that are not named (`merge`), or remove them (`replace`)"
    )
    refresh: bool = _REFRESH


class GetParameters(Parameters):
    """`/get`"""

    with_: tuple[Literal["embedding", "thumbnail"], ...] = Field(
        (), alias="with", description="what else to return: `embedding`, `thumbnail`"
    )
    allow_partial: bool = Field(False, strict=True, description="accept an answer in which a shard is missing")


class ThumbnailParameters(Parameters):
    """`/thumbnail`"""

    known: tuple[str, ...] = Field((), description="the versions of the document whose thumbnails the caller has")


class CountParameters(Parameters):
    """`/count`"""

    filter: FilterText = Field(None, description="only documents whose tags match")
    allow_partial: bool = Field(False, strict=True, description="accept an answer in which a shard is missing")


class FacetParameters(CountParameters):
    """`/facets`"""

    paths: tuple[TagPath, ...] = Field(
        min_length=1, max_length=MAX_FACETS, description="the tags whose values are counted: keys joined by dots"
    )
    limit: WholeNumber = Field(10, ge=1, le=MAX_FACET_VALUES, description="the most values of each tag to return")

    @field_validator("paths")
    @classmethod
    def _once(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(paths)) < len(paths):
            raise ValueError("names a tag twice")
        return paths


class ScrollParameters(CountParameters):
    """`/scroll`"""

    after: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="return the documents after this id: `next` of the previous page"
    )
    limit: WholeNumber = Field(100, ge=1, le=MAX_HITS, description="the most documents of a page")
    with_: tuple[Literal["embedding", "thumbnail"], ...] = Field(
        (), alias="with", description="what else to return: `embedding`, `thumbnail`"
    )


class QualityParameters(Parameters):
    """`/quality`"""

    collection: CollectionName | None = Field(None, description="the collection (default: all collections)")
    sample: WholeNumber = Field(100, ge=1, le=MAX_SAMPLE, description="how many stored vectors are the queries")
    k: WholeNumber = Field(10, ge=1, le=MAX_QUALITY_HITS, description="how many hits of each query are compared")
    ef: WholeNumber | None = Field(
        None, ge=1, le=MAX_EFFORT, description="how many candidates the walk through the graph keeps"
    )


class VerifyParameters(BaseModel):
    """`/verify`; it always checks all collections."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    repair: bool = Field(
        False,
        strict=True,
        description="remove the older copy of ids that are stored twice, and rebuild what is made from the documents",
    )


AnyParameters = TypeVar("AnyParameters", bound=BaseModel)


def parse_parameters(model: type[AnyParameters], given: Any) -> AnyParameters:
    """Check the parameters of a request.

    Raises:
        VisualSearchError: `invalid_parameter`; the message names each wrong parameter.
    """
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise VisualSearchError("invalid_parameter", "`parameters` must be a JSON object")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        faults = [_describe(fault, model) for fault in error.errors(include_url=False)]
        raise VisualSearchError("invalid_parameter", "; ".join(faults), parameters=faults) from None


def _describe(fault: Any, model: type[BaseModel]) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = sorted(field.alias or key for key, field in model.model_fields.items())
        return f"{name}: unknown parameter (known: {', '.join(known)})"
    if fault["type"] == "string_pattern_mismatch":  # only names of collections have one
        return f"{name}: must be 1 to 128 letters, digits, dots, dashes or underscores, and not dots alone"
    if fault["type"] == "too_short":
        return f"{name}: must have at least {fault['ctx']['min_length']} of them"
    if fault["type"] == "too_long":
        return f"{name}: must have at most {fault['ctx']['max_length']} of them"
    message = str(fault["msg"]).removeprefix("Value error, ").replace("a valid tuple", "a list")
    return f"{name}: {message}" if name else message
