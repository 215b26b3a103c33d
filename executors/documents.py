"""The one document type that travels through every flow.

Jina compares property names between executors and typed clients break when a name is added later, so the fields of
`ImageDoc` are settled here once, those of later capabilities included. On the wire (protobuf) every field that is
free-form or nested travels as a JSON string or as columns, because docarray's own encoding cuts integers to 32 bits and
spends most of a search on rebuilding nested documents; a user only ever sees Python values.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias

import numpy as np
import orjson
from docarray import BaseDoc, DocList
from docarray.proto import DocProto, NodeProto
from docarray.typing import NdArray
from pydantic import BaseModel, Field, ValidationInfo, WithJsonSchema, field_validator

from executors.document_faults import FAULT, fault_message, read_fault
from executors.document_values import check_array, check_box, check_text, plain_bytes, plain_tags
from executors.errors import ErrorCode, VisualSearchError, error_from_json

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
else:
    # For docarray, the brackets of its tensor types hold shapes, and its type accepts any numpy array.
    Array = NdArray

DEFAULT_COLLECTION: Final = "images"

JsonObject: TypeAlias = dict[str, Any]


class Failure(BaseModel):
    """Why one document failed; the same three fields as every error of the HTTP API, and the stage that refused it."""

    code: ErrorCode
    message: str
    details: JsonObject = Field(default_factory=dict)
    stage: str = ""

    @classmethod
    def of(cls, error: VisualSearchError, stage: str) -> "Failure":
        """The error as it travels in a document."""
        return cls(**error.to_json(), stage=stage)

    def to_error(self) -> VisualSearchError:
        """The error to raise in its place."""
        return error_from_json(self.model_dump())


class Match(BaseDoc):
    """One hit: an indexed document and its true cosine to the query, from -1 to 1.

    `thumbnail_url` is the path of its thumbnail on the HTTP server, which answers 404 where none is kept.
    `group` (the tag's value, or the parent's id) and `embedding` (D numbers) only where they were asked for.
    """

    score: float = 0.0
    uri: str | None = None
    tags: JsonObject = Field(default_factory=dict)
    parent: str | None = None
    box: list[float] | None = None
    version: str | None = None
    thumbnail_url: str | None = None
    group: Any = None
    embedding: list[float] | None = None


# Declares the wire type of a field to Jina's schema exchange, while users keep the Python type.
_AS_TEXT: Final = WithJsonSchema({"type": "string"})


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Pydantic tells a ValueError with the field's name; any other exception would pass as it is."""
    try:
        yield
    except VisualSearchError as error:
        raise ValueError(error.message) from None


class ImageDoc(BaseDoc):
    """A picture, a query, or the answer for one of them.

    `tensor` is H x W x 3 uint8 RGB, `embedding` D float32 of unit length, `box` x, y, w, h in the upright pixels of
    `parent`. `hits` holds the matches as JSON columns on their way from the shards to the caller; callers read `matches`.

    Raises:
        ValueError: a value can't be sent: text that is not Unicode, tags that are not JSON, an array that holds no numbers.
            numpy's numbers, booleans and texts are taken.
    """

    collection: str | None = None
    parent: str | None = None
    box: Annotated[list[float] | None, _AS_TEXT] = None
    text: str | None = None
    uri: str | None = None
    blob: bytes | None = None
    tensor: Array | None = None
    embedding: Array | None = None
    tags: Annotated[JsonObject, _AS_TEXT] = Field(default_factory=dict)
    thumbnail: bytes | None = None
    model_id: str | None = None
    version: str | None = None
    result: str | None = None
    error: Annotated[Failure | None, _AS_TEXT] = None
    matches: Annotated[DocList[Match], _AS_TEXT] = Field(default_factory=DocList[Match])
    hits: bytes | None = None
    shards_total: int | None = None
    shards_answered: int | None = None

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        # A caller who makes documents will send them: if by Jina's client, its parameters are checked like the documents.
        # Jina may have been imported at any time before.
        from executors.flow.jina_patches.parameters import check_parameters

        check_parameters()

    @field_validator("id", "collection", "parent", "text", "uri", "model_id")
    @classmethod
    def _check_text(cls, value: str | None, info: ValidationInfo) -> str | None:
        with _as_value_error():
            check_text(str(info.field_name), value)
        return value

    @field_validator("tags", mode="before")
    @classmethod
    def _plain_tags(cls, value: Any) -> Any:
        with _as_value_error():
            return plain_tags(value)

    @field_validator("box")
    @classmethod
    def _check_box(cls, value: list[float] | None) -> list[float] | None:
        if value is not None:
            with _as_value_error():
                check_box(value)
        return value

    @field_validator("blob", "thumbnail", "hits", mode="before")
    @classmethod
    def _bytes(cls, value: Any, info: ValidationInfo) -> bytes | None:
        if value is None:
            return None
        with _as_value_error():
            return plain_bytes(str(info.field_name), value)

    @field_validator("tensor", "embedding", mode="before")
    @classmethod
    def _array(cls, value: Any, info: ValidationInfo) -> Any:
        """An array of numbers, or its JSON; docarray would take a number for the size of an array without content."""
        if value is None:
            return None
        if isinstance(value, str):
            value = orjson.loads(value)
        with _as_value_error():
            check_array(str(info.field_name), value)
        return np.asarray(value)

    def to_protobuf(self) -> DocProto:
        """Encode for the wire, unset fields left out: a third of the time of docarray's generic encoder.

        A document into which something was put that can't be sent goes as its error, which the gateway answers with.
        """
        try:
            return self._encoded()
        # What is raised here ends Jina's client with an asyncio.CancelledError, and every document of the request is lost.
        except Exception as error:
            return fault_message(self.__dict__, error)

    def _encoded(self) -> DocProto:
        message = DocProto()
        nodes = message.data
        values = self.__dict__
        for name in TEXT_FIELDS:
            value = values[name]
            if value is not None:
                nodes[name].text = value
        for name in BYTES_FIELDS:
            value = values[name]
            if value is not None:
                nodes[name].blob = value
        for name in ARRAY_FIELDS:
            value = values[name]
            if value is not None:
                _encode_array(np.asarray(value), nodes[name])
        for name in INTEGER_FIELDS:
            value = values[name]
            if value is not None:
                nodes[name].integer = value
        for name, text in json_texts(self):
            nodes[name].text = text
        return message

    @classmethod
    def from_protobuf(cls, pb_msg: DocProto) -> "ImageDoc":
        """Decode from the wire; what is known by type is not validated again.

        Raises:
            ValueError: a field does not have the type that the wire declares for it.
        """
        values: dict[str, Any] = {}
        for name, node in pb_msg.data.items():
            content = node.WhichOneof("content")
            if name == FAULT:
                values["error"] = Failure.of(read_fault(node.text), "client")
            if content is None or name not in _FIELDS:
                continue
            if content != _CONTENT.get(name):
                values[name] = _decode_foreign(name, node, content)
            elif content == "ndarray":
                values[name] = _decode_array(node.ndarray)
            elif name in _JSON_FIELDS:
                values[name] = _JSON_FIELDS[name](orjson.loads(node.text))
            else:
                values[name] = getattr(node, content)
        return cls.from_values(**values)

    @classmethod
    def from_values(cls, **values: Any) -> "ImageDoc":
        """Make a document from values whose types are known to be right: pydantic's checks are not paid again."""
        document = cls.__new__(cls)
        state = dict.fromkeys(_FIELDS)
        state["tags"] = {}
        state["matches"] = DocList[Match]()
        state.update(values)
        object.__setattr__(document, "__dict__", state)
        object.__setattr__(document, "__pydantic_fields_set__", set(values))
        object.__setattr__(document, "__pydantic_extra__", None)
        object.__setattr__(document, "__pydantic_private__", None)
        return document


def fail_all(documents: Sequence[ImageDoc], error: VisualSearchError, stage: str) -> None:
    """Put the error into every document that has none yet."""
    failure = Failure.of(error, stage)
    for document in documents:
        document.error = document.error or failure


def json_texts(document: ImageDoc) -> Iterator[tuple[str, str]]:
    """The fields of a document that travel as JSON, as far as they are set: name and text.

    Raises:
        Exception: a value can't be written as JSON.
    """
    if document.tags:
        yield "tags", _tags_to_text(document.tags)
    if document.box is not None:
        yield "box", orjson.dumps(document.box, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    if document.error is not None:
        yield "error", document.error.model_dump_json()
    if document.matches:
        yield "matches", orjson.dumps([match.model_dump() for match in document.matches]).decode()


def _read_failure(value: Any) -> Failure:
    """An error that a stage wrote; its version may know codes that this one doesn't."""
    if not isinstance(value, Mapping):
        raise ValueError("the field 'error' must be an object")
    return Failure.of(error_from_json(value), str(value.get("stage", "")))


def _tags_to_text(tags: JsonObject) -> str:
    """Tags as JSON; they may have been changed since they were checked.

    Raises:
        VisualSearchError: `invalid_tags`.
        ValueError: a number is not finite; orjson would silently write null for it.
    """
    try:
        text = orjson.dumps(tags, option=_NOTHING_BUT_JSON).decode()
    except TypeError:
        return orjson.dumps(plain_tags(tags)).decode()
    if "null" in text:
        json.dumps(tags, allow_nan=False)
    return text


def _encode_array(array: np.ndarray[Any, Any], node: NodeProto) -> None:
    """Write an array the way docarray does, so that its own clients read it.

    Raises:
        TypeError: it holds Python's objects, of which only the addresses could be sent.
    """
    if array.dtype.hasobject:
        raise TypeError("an array of objects")
    dense = node.ndarray.dense
    dense.buffer = np.ascontiguousarray(array).tobytes()
    dense.shape.extend(array.shape)
    dense.dtype = array.dtype.str
    node.type = "ndarray"


def _decode_array(message: Any) -> np.ndarray[Any, Any]:
    """Read an array without copying its buffer; the result is read-only."""
    dense = message.dense
    array = np.frombuffer(dense.buffer, dtype=np.dtype(dense.dtype)).reshape(tuple(dense.shape))
    return array.view(NdArray)


def _decode_foreign(name: str, node: NodeProto, content: str) -> Any:
    """Read a field that another client encoded in its own way: tags as a nested message, an embedding as a list."""
    value = ImageDoc._get_content_from_node_proto(node, field_type=Any)
    if name in ARRAY_FIELDS:
        return np.asarray(value)
    if name in ("tags", "box", "error", "matches"):
        return _JSON_FIELDS[name](value)
    raise ValueError(f"the field {name!r} must be sent as {_CONTENT[name]}, not as {content}")


TEXT_FIELDS: Final = ("id", "collection", "parent", "text", "uri", "model_id", "version", "result")
BYTES_FIELDS: Final = ("blob", "thumbnail", "hits")
ARRAY_FIELDS: Final = ("tensor", "embedding")
INTEGER_FIELDS: Final = ("shards_total", "shards_answered")
# orjson would write dates and data classes in forms of its own.
_NOTHING_BUT_JSON: Final = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_JSON_FIELDS: Final[dict[str, Any]] = {
    "tags": lambda value: {} if value is None else value,
    "box": lambda value: value,
    "error": _read_failure,
    "matches": lambda value: DocList[Match]([Match(**match) for match in value]),
}
_CONTENT: Final = (
    dict.fromkeys(TEXT_FIELDS, "text")
    | dict.fromkeys(BYTES_FIELDS, "blob")
    | dict.fromkeys(ARRAY_FIELDS, "ndarray")
    | dict.fromkeys(INTEGER_FIELDS, "integer")
    | dict.fromkeys(_JSON_FIELDS, "text")
)
_FIELDS: Final = tuple(ImageDoc.model_fields)
# A field that no table above names would not be sent, and nothing would say so.
if unnamed := set(_FIELDS) ^ set(_CONTENT):
    raise TypeError(f"ImageDoc and the tables of its codec differ in {', '.join(sorted(unnamed))}")
