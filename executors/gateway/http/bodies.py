"""Reads the documents of an HTTP body: JSON in Jina's convention, or multipart files. Limits are checked before the work."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from executors.document_values import check_box, check_text, is_text
from executors.documents import Failure, ImageDoc
from executors.errors import ErrorCode, VisualSearchError
from executors.exact_json import InvalidJsonError, is_json, read_json_values
from executors.gateway.document_checks import MAX_THUMBNAIL_BYTES
from executors.gateway.http.form_names import FormParser
from executors.gateway.http.incoming import IncomingBody
from executors.gateway.http.query import as_parameters, query_values
from executors.preprocess.sources import decode_base64

STAGE: Final = "gateway"
# From here on, a body is decoded beside the event loop: other requests don't wait for it.
_LARGE_BODY: Final = 1_000_000
_NO_VALUE: Final = "is not JSON: a text is not Unicode, or a number is too large"
# Below it, numbers of single precision lose digits.
_SMALLEST: Final = 1e-30
_TEXT_FIELDS: Final = ("id", "collection", "parent", "text", "uri", "model_id")
_PICTURE_FIELDS: Final[tuple[str, ...]] = ("id", "uri", "tags")
_KNOWN_FIELDS: Final = frozenset((*_TEXT_FIELDS, "blob", "embedding", "tags", "box", "thumbnail"))


def weight_of(request: Request) -> int:
    """Bytes of memory that one byte of a body takes while it is read: JSON is there as sent, as text, and as pictures."""
    media_type = media_type_of(request)
    return 1 if media_type == "multipart/form-data" or is_picture(media_type) else 3


async def read_documents(
    body: IncomingBody, max_image_bytes: int, *, pictures: bool
) -> tuple[list[ImageDoc], dict[str, Any]]:
    """The documents and parameters of a request, whatever its content type; parameters may stand in the query string.

    Args:
        pictures: whether a body may be a picture's bytes as they are; its `id`, `uri` and `tags` are in the query string.

    Raises:
        VisualSearchError: `request_too_large`, `malformed_body`, `unsupported_media_type`, `invalid_parameter`,
            `body_timeout`, `overloaded`.
    """
    given = query_values(body.request)
    media_type = media_type_of(body.request)
    if pictures and is_picture(media_type):
        document: dict[str, str] = {name: given.pop(name) for name in _PICTURE_FIELDS if name in given}
        return [picture_document(await body.read(), document, max_image_bytes)], as_parameters(given)
    if media_type == "multipart/form-data":
        documents, parameters = await _read_multipart(body, max_image_bytes)
        return documents, _joined(as_parameters(given), parameters)
    check_json_type(body.request, ", multipart/form-data, or a picture as image/*" if pictures else "")
    content = await body.read()
    if len(content) < _LARGE_BODY:
        documents, parameters = parse_json(content, max_image_bytes)
    else:
        documents, parameters = await asyncio.to_thread(parse_json, content, max_image_bytes)
    return documents, _joined(as_parameters(given), parameters)


def check_json_type(request: Request, others: str = "") -> None:
    """Refuse a body that says it is anything but JSON; one that says nothing is taken for it.

    Args:
        others: what is taken beside JSON, for the message.

    Raises:
        VisualSearchError: `unsupported_media_type`.
    """
    media_type = media_type_of(request)
    if media_type not in ("", "application/json", "text/json") and not media_type.endswith("+json"):
        message = f"Content-Type {media_type!r}; send application/json{others}"
        raise VisualSearchError("unsupported_media_type", message)


def media_type_of(request: Request) -> str:
    """The Content-Type of a request in lower case, without its parameters; empty if it says none."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_picture(media_type: str) -> bool:
    """Whether a body of this type is a picture's bytes as they are."""
    return media_type.startswith("image/") or media_type == "application/octet-stream"


def _joined(query: dict[str, Any], parameters: Any) -> Any:
    """The parameters of a query string and of a body; a body's that are no object are left to their check."""
    if not isinstance(parameters, dict):
        return parameters
    twice = sorted(set(query) & set(parameters))
    if twice:
        raise VisualSearchError("invalid_parameter", f"{twice[0]}: stands in the query string and in the body")
    return query | parameters


def picture_document(content: bytes, given: Mapping[str, str], max_image_bytes: int) -> ImageDoc:
    """The document of a body that is a picture.

    Args:
        given: its `id`, `uri` and `tags` (JSON), as far as they were given.
    """
    document_id = given.get("id")
    try:
        if len(content) > max_image_bytes:
            raise _image_too_large(len(content), max_image_bytes)
        tags = _json_part(given.get("tags"), "tags", {})
        if not isinstance(tags, dict):
            raise VisualSearchError("invalid_tags", "`tags` must be a JSON object")
    except VisualSearchError as error:
        return ImageDoc.from_values(id=document_id, error=Failure.of(error, STAGE))
    return ImageDoc.from_values(id=document_id, blob=content, uri=given.get("uri"), tags=tags)


def parse_json(body: bytes, max_image_bytes: int) -> tuple[list[ImageDoc], dict[str, Any]]:
    """Documents and parameters of a JSON body; a document at fault carries its error and costs no other.

    Raises:
        VisualSearchError: `malformed_body`.
    """
    try:
        content = read_json_values(body) if body else {}
    except InvalidJsonError as error:
        raise VisualSearchError("malformed_body", f"the body {error}") from None
    if not isinstance(content, dict):
        raise VisualSearchError("malformed_body", 'the body must be an object: {"data": [...], "parameters": {...}}')
    if not is_json({name: value for name, value in content.items() if name != "data"}):
        raise VisualSearchError("malformed_body", f"the body {_NO_VALUE}")
    unknown = sorted(set(content) - {"data", "parameters"})
    if unknown:
        raise VisualSearchError("malformed_body", f"unknown keys: {', '.join(unknown)} (known: data, parameters)")
    data = content.get("data")
    documents = [] if data is None else data if isinstance(data, list) else [data]
    parameters = content.get("parameters")
    made = []
    for position, each in enumerate(documents):
        made.append(document_from_json(each, max_image_bytes))
        documents[position] = None  # its text is not kept beside what it stands for
    return made, {} if parameters is None else parameters


def _shown_id(given: Any) -> str | None:
    """The id of a document that is refused, if an answer can carry it."""
    return given if isinstance(given, str) and is_text(given) else None


def document_from_json(given: Any, max_image_bytes: int) -> ImageDoc:
    """One document of a JSON body."""
    document_id = given.get("id") if isinstance(given, Mapping) else None
    try:
        return _read_fields(given, max_image_bytes)
    except VisualSearchError as error:
        return ImageDoc.from_values(id=_shown_id(document_id), error=Failure.of(error, STAGE))


def _read_fields(given: Any, max_image_bytes: int) -> ImageDoc:
    if not isinstance(given, Mapping):
        raise VisualSearchError("invalid_document", "a document must be a JSON object")
    unknown = [name.encode(errors="backslashreplace").decode() for name in sorted(set(given) - _KNOWN_FIELDS)]
    if unknown:
        known = ", ".join(sorted(_KNOWN_FIELDS))
        raise VisualSearchError("invalid_document", f"unknown field {unknown[0]!r} (known: {known})", fields=unknown)
    values: dict[str, Any] = {}
    for name in _TEXT_FIELDS:
        value = given.get(name)
        if value is not None and not isinstance(value, str):
            code: ErrorCode = "invalid_id" if name == "id" else "invalid_document"
            raise VisualSearchError(code, f"`{name}` must be a string")
        check_text(name, value)
        values[name] = value
    blob = given.get("blob")
    if blob is not None:
        if not isinstance(blob, str):
            raise VisualSearchError("invalid_base64", "`blob` must be a base64 string")
        values["blob"] = decode_base64(blob, max_image_bytes)
    if given.get("embedding") is not None:
        values["embedding"] = _vector(given["embedding"])
    tags = given.get("tags")
    if tags is not None:
        if not isinstance(tags, dict):
            raise VisualSearchError("invalid_tags", "`tags` must be a JSON object")
        values["tags"] = tags
    if given.get("box") is not None:
        values["box"] = _box(given["box"])
    if given.get("thumbnail") is not None:
        values["thumbnail"] = _thumbnail(given["thumbnail"])
    return ImageDoc.from_values(**values)


def _vector(given: Any) -> np.ndarray[Any, np.dtype[np.floating[Any]]]:
    if not isinstance(given, list) or not set(map(type, given)) <= {int, float}:
        raise VisualSearchError("invalid_embedding", "`embedding` must be a list of numbers")
    exact = np.asarray(given, dtype=np.float64)
    largest = np.abs(exact).max(initial=0)
    # Only the direction counts: single precision would make infinity or zero of these.
    if 0 < largest < _SMALLEST or np.finfo(np.float32).max < largest < np.inf:
        return exact
    with np.errstate(over="ignore", under="ignore"):
        return exact.astype(np.float32)


def _thumbnail(given: Any) -> bytes:
    try:
        return decode_base64(given, MAX_THUMBNAIL_BYTES)
    except VisualSearchError as error:
        faults: dict[ErrorCode, str] = {
            "image_too_large": f"is larger than {MAX_THUMBNAIL_BYTES} bytes",
            "no_content": "is empty",
        }
        fault = faults.get(error.code, "is not base64")
    except (TypeError, AttributeError):
        fault = "must be a base64 string"
    raise VisualSearchError("invalid_document", f"`thumbnail` {fault}")


def _box(given: Any) -> list[float]:
    check_box(given)
    return [float(each) for each in given]


async def _read_multipart(incoming: IncomingBody, max_image_bytes: int) -> tuple[list[ImageDoc], dict[str, Any]]:
    stream = Request(incoming.request.scope, incoming.receive).stream()
    parser = FormParser(incoming.request.headers, stream, max_files=100_000, max_fields=16, max_part_size=16_000_000)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise VisualSearchError("malformed_body", f"the form can't be read: {error.message}") from None
    except Exception as error:
        if isinstance(error, VisualSearchError | ClientDisconnect):
            raise
        detail = getattr(error, "detail", None) or type(error).__name__
        raise VisualSearchError("malformed_body", f"the form can't be read: {detail}") from None
    try:
        if not parser.complete:
            raise VisualSearchError("malformed_body", "the form is cut off: it has no closing boundary")
        return await _read_form(form, max_image_bytes)
    finally:
        await form.close()


async def _read_form(form: FormData, max_image_bytes: int) -> tuple[list[ImageDoc], dict[str, Any]]:
    unknown = sorted(set(form) - {"file", "parameters", "tags", "ids"})
    if unknown:
        raise VisualSearchError("malformed_body", f"unknown part {unknown[0]!r} (known: file, ids, parameters, tags)")
    # A page sends the place of a file that nothing was chosen for as an empty text.
    parts = [part for part in form.getlist("file") if part != ""]
    files = [part for part in parts if isinstance(part, UploadFile)]
    if len(files) != len(parts):
        raise VisualSearchError("malformed_body", "a part `file` without a file name: send it as a file")
    parameters = _json_part(_given(form, "parameters"), "parameters", {})
    if not is_json(parameters):
        raise VisualSearchError("malformed_body", f"the part `parameters` {_NO_VALUE}")
    ids = _by_position(_json_part(_given(form, "ids"), "ids", None), len(files), "ids")
    tags = _json_part(_given(form, "tags"), "tags", {})
    tags = [tags] * len(files) if not isinstance(tags, list) else _by_position(tags, len(files), "tags") or []
    documents = [
        _file_document(part, await _file_bytes(part, max_image_bytes), name, tag)
        for part, name, tag in zip(files, ids or [part.filename or None for part in files], tags, strict=True)
    ]
    return documents, parameters


def _given(form: FormData, name: str) -> Any:
    """The part of a name, which stands once; beside it, a page may have sent an empty field."""
    return next((part for part in form.getlist(name) if part), None)


async def _file_bytes(part: UploadFile, max_image_bytes: int) -> bytes | VisualSearchError:
    size = part.size or 0
    if size > max_image_bytes:
        return _image_too_large(size, max_image_bytes)
    return await part.read()


def _image_too_large(size: int, limit: int) -> VisualSearchError:
    return VisualSearchError("image_too_large", f"the file has {size} bytes; at most {limit}", bytes=size, limit=limit)


def _file_document(part: UploadFile, content: bytes | VisualSearchError, name: Any, tags: Any) -> ImageDoc:
    document_id = _shown_id(name)
    fault = content if isinstance(content, VisualSearchError) else None
    if name is not None and document_id is None:
        reason = "is not valid Unicode" if isinstance(name, str) else "must be a string"
        fault = VisualSearchError("invalid_id", f"an id {reason}")
    elif tags is not None and not isinstance(tags, dict):
        fault = VisualSearchError("invalid_tags", "`tags` must be a JSON object, or a list of them")
    if fault is not None:
        return ImageDoc.from_values(id=document_id, error=Failure.of(fault, STAGE))
    return ImageDoc.from_values(id=document_id, blob=content, uri=part.filename or None, tags=tags or {})


def _json_part(part: Any, name: str, default: Any) -> Any:
    if part is None:
        return default
    if not isinstance(part, str):
        raise VisualSearchError("malformed_body", f"the part `{name}` must be text, not a file")
    if not part.strip():
        # Pages send the fields that were left empty, too.
        return default
    try:
        return read_json_values(part)
    except InvalidJsonError as error:
        raise VisualSearchError("malformed_body", f"the part `{name}` {error}") from None


def _by_position(given: Any, count: int, name: str) -> Sequence[Any] | None:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != count:
        raise VisualSearchError("malformed_body", f"`{name}` must be a list of {count}, one for each file")
    return given
