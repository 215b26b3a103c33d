"""The one document type that travels through every flow.

Jina compares property names between executors, and typed clients break when a name is added later; so the fields of
`ImageDoc` are fixed, including those of later capabilities. On the wire (protobuf), every free-form or nested field travels
as a JSON string or as columns. docarray's own encoding would cut integers to 32 bits, and would spend most of a search on
rebuilding nested documents. Users only see Python values.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, get_origin

import numpy as np
import orjson
from docarray import BaseDoc, DocList
from docarray.proto import DocListProto, DocProto, NodeProto
from docarray.typing import NdArray
from pydantic import BaseModel, Field, ValidationInfo, WithJsonSchema, field_validator

from executors.document_faults import FAULT, fault_message, read_fault
from executors.document_values import check_array, check_box, check_text, plain_bytes, plain_tags
from executors.errors import ErrorCode, VisualSearchError, error_from_json

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
else:
    # docarray's tensor types take a shape in the brackets, and accept any numpy array.
    Array = NdArray

DEFAULT_COLLECTION: Final = "images"

JsonObject: TypeAlias = dict[str, Any]


class Failure(BaseModel):
    """The error of one document: the same three fields as every error of the HTTP API, and the stage that refused it."""

    code: ErrorCode
    message: str
    details: JsonObject = Field(default_factory=dict)
    stage: str = ""

    @classmethod
    def of(cls, error: VisualSearchError, stage: str) -> "Failure":
        """Return the failure that travels in a document, made from an error."""
        return cls(**error.to_json(), stage=stage)

    def to_error(self) -> VisualSearchError:
        """Return the error to raise for this failure."""
        return error_from_json(self.model_dump())


class Match(BaseDoc):
    """One hit: an indexed document and its true cosine to the query, from -1 to 1.

    `thumbnail_url` is the path of its thumbnail on the HTTP server, which answers 404 if there is none. `group` (the tag's
    value, or the parent's id) and `embedding` (D numbers) are set only if the request asked for them.
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


# With this, Jina's schema exchange sees the wire type of a field, while users see the Python type.
_AS_TEXT: Final = WithJsonSchema({"type": "string"})


@contextmanager
def _as_value_error() -> Iterator[None]:
    """Raise a ValueError in place of our errors: pydantic adds the field's name to it, and to no other exception."""
    try:
        yield
    except VisualSearchError as error:
        raise ValueError(error.message) from None


class ImageDoc(BaseDoc):
    """A picture, a query, or the answer for one of them.

    `tensor` is H x W x 3 uint8 RGB, `embedding` D float32 of unit length, `box` x, y, w, h in the upright pixels of
    `parent`. `hits` holds the matches as JSON columns between the shards and the gateway; callers read `matches`. Tags may
    hold numpy's numbers, booleans and texts.

    Raises:
        ValueError: a value can't be sent, such as text that is not Unicode, tags that are not JSON, or an array without
            numbers.
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
        # A program that makes documents probably sends them by Jina's client, whose parameters need the same checks.
        # It may have imported Jina at any time before.
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
        """Accept an array of numbers, or its JSON; refuse a number, which docarray would take for the size of an empty array."""
        if value is None:
            return None
        if isinstance(value, str):
            value = orjson.loads(value)
        with _as_value_error():
            check_array(str(info.field_name), value)
        return np.asarray(value)

    def to_protobuf(self) -> DocProto:
        """Encode for the wire, without the unset fields; it takes a third of the time of docarray's generic encoder.

        If a field holds a value that can't be sent, the message carries an error instead, which the gateway answers with.
        """
        try:
            return self._encoded()
        # An exception here would end Jina's client with asyncio.CancelledError, and lose every document of the request.
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
        """Decode from the wire. Fields whose type is certain are not validated again.

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
        """Make a document from values whose types are certain, without the cost of pydantic's checks."""
        document = cls.__new__(cls)
        state = {**_UNSET, "tags": {}, "matches": _Matches.construct([]), **values}
        object.__setattr__(document, "__dict__", state)
        object.__setattr__(document, "__pydantic_fields_set__", set(values))
        object.__setattr__(document, "__pydantic_extra__", None)
        object.__setattr__(document, "__pydantic_private__", None)
        return document

    def put(self, **values: Any) -> None:
        """Set fields to values whose types are certain, without the cost of pydantic's checks."""
        self.__dict__.update(values)
        self.__pydantic_fields_set__.update(values)


def fail_all(documents: Sequence[ImageDoc], error: VisualSearchError, stage: str) -> None:
    """Put the error into every document that has no error yet."""
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
    """Read an error that a stage wrote; a stage of another version may know further codes."""
    if not isinstance(value, Mapping):
        raise ValueError("the field 'error' must be an object")
    return Failure.of(error_from_json(value), str(value.get("stage", "")))


def _tags_to_text(tags: JsonObject) -> str:
    """Return tags as JSON, checked again because they may have changed.

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
    """Write an array as docarray does, so that docarray's clients can read it.

    Raises:
        TypeError: the array holds Python objects, of which only the addresses could be sent.
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
    """Read a field that another client encoded differently: tags as a nested message, or an embedding as a list."""
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
# Without these options, orjson would write dates and data classes in forms of its own.
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
_UNSET: Final = dict.fromkeys(_FIELDS)
# A field that is missing in a table above would silently not be sent.
if unnamed := set(_FIELDS) ^ set(_CONTENT):
    raise TypeError(f"ImageDoc and the tables of its codec differ in {', '.join(sorted(unnamed))}")


# docarray looks a list type up each time that it is named, and checks each document again that was just decoded.
ImageDocs: Final[Any] = DocList[ImageDoc]
_Matches: Final[Any] = get_origin(DocList[Match])


def _decode_list(cls: Any, message: DocListProto) -> Any:
    return cls.construct([ImageDoc.from_protobuf(each) for each in message.docs])


get_origin(ImageDocs).from_protobuf = classmethod(_decode_list)
