"""The parameters of each endpoint: one strict model each, the same for HTTP and gRPC."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from executors.errors import VisualSearchError

MAX_HITS = 10_000


def _whole(value: Any) -> Any:
    """gRPC carries every number as a double: 10.0 is 10, but neither true nor "10" is."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not float(value).is_integer():
        raise ValueError("must be a whole number")
    return int(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return float(value)


WholeNumber = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number)]
CollectionName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
DocumentId = Annotated[str, StringConstraints(min_length=1, max_length=512)]


class Parameters(BaseModel):
    """What every endpoint takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    collection: CollectionName | None = Field(None, description="the collection (default: `images`)")


class IndexParameters(Parameters):
    """`/index`, `/delete`"""


class EmbedParameters(Parameters):
    """`/embed`"""


class SearchParameters(Parameters):
    """`/search`"""

    limit: WholeNumber = Field(10, ge=1, le=MAX_HITS, description="hits a query at most")
    offset: WholeNumber = Field(0, ge=0, le=MAX_HITS, description="hits to leave out, best first")
    threshold: Number | None = Field(None, ge=-1, le=1, description="only hits with at least this cosine")
    allow_partial: bool = Field(False, strict=True, description="accept an answer in which a shard is missing")
    like: DocumentId | None = Field(None, description="search with the vector of this indexed document")

    @model_validator(mode="after")
    def _window(self) -> SearchParameters:
        if self.limit + self.offset > MAX_HITS:
            raise ValueError(f"limit + offset must be at most {MAX_HITS}")
        return self


class UpdateParameters(Parameters):
    """`/update`"""

    mode: Literal["merge", "replace"] = Field("merge", description="keep the tags that are not named, or not")


class GetParameters(Parameters):
    """`/get`"""

    with_: tuple[Literal["embedding", "thumbnail"], ...] = Field(
        (), alias="with", description="what else to return: `embedding`, `thumbnail`"
    )
    allow_partial: bool = Field(False, strict=True, description="accept an answer in which a shard is missing")


class VerifyParameters(Parameters):
    """`/verify`"""

    repair: bool = Field(False, strict=True, description="remove the older copy of every id that stands twice")


AnyParameters = TypeVar("AnyParameters", bound=Parameters)


def parse_parameters(model: type[AnyParameters], given: Any) -> AnyParameters:
    """Check the parameters of a request.

    Raises:
        VisualSearchError: `invalid_parameter`, naming each parameter at fault.
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


def _describe(fault: Any, model: type[Parameters]) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = sorted(field.alias or key for key, field in model.model_fields.items())
        return f"{name}: unknown parameter (known: {', '.join(known)})"
    message = str(fault["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
