"""The gRPC side: Jina's own protocol, in which every request goes through the same door as over HTTP.

Jina's servicer would pass requests on unchecked, answer an unknown endpoint with its input, and leave a client waiting
whose request could not be read. Here no exception ends a stream: every request gets an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import unquote

from docarray import DocList
from docarray.proto import DocListProto, DocProto
from google.protobuf.message import DecodeError
from grpc import StatusCode
from jina.proto import jina_pb2
from jina.types.request.data import DataRequest, SingleDocumentRequest

from executors.document_faults import FAULT
from executors.documents import Failure, ImageDoc
from executors.errors import ErrorCode, VisualSearchError, as_error
from executors.exact_json import InvalidJsonError, read_json
from executors.gateway.access import sent_keys
from executors.gateway.door import Body, Caller, Door, endpoint_for_grpc
from executors.gateway.endpoints import STATUS
from executors.gateway.intake import Held
from executors.gateway.rendering import documents_for_grpc
from executors.request_id import METADATA_KEY, current_request_id, request_id_from, request_scope, set_request_id

# The most requests of one stream that are worked on at the same time.
_PREFETCH = 16
# A message is in memory twice: as bytes and as documents.
_WEIGHT = 2
# Jina's clients add this key to the parameters that they send.
_JINA_RESULTS = "__results__"


class GrpcService:
    """Stands in front of Jina's gateway servicer, and passes on every call that is not a request with documents."""

    def __init__(self, inner: Any, door: Door) -> None:
        self._inner = inner
        self._door = door
        self.streamer = inner.streamer
        self.executor = inner.executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def stream(
        self, request_iterator: AsyncIterator[DataRequest], context: Any = None, *_: Any, **__: Any
    ) -> AsyncIterator[DataRequest]:
        """Answer a stream of requests in order, several at once; stop reading while too many are under way.

        If the caller leaves, or an answer can't be sent, the work for it is cancelled.
        """
        pending: asyncio.Queue[asyncio.Task[DataRequest] | None] = asyncio.Queue()
        places = asyncio.Semaphore(_PREFETCH)
        tasks: set[asyncio.Task[DataRequest]] = set()

        async def read() -> None:
            try:
                async for request in request_iterator:
                    held = asyncio.Event()
                    task = asyncio.create_task(self._answer(request, context, held))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    pending.put_nowait(task)
                    # Read the next message only when this one has its memory and few are under way.
                    await held.wait()
                    await places.acquire()
            finally:
                pending.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await pending.get()) is not None:
                yield await task
                places.release()
        finally:
            for each in (reader, *tasks):
                each.cancel()

    Call = stream

    async def process_single_data(self, request: DataRequest, context: Any = None) -> DataRequest:
        """Answer one request."""
        return await self._answer(request, context)

    async def _status(self, empty: Any, context: Any) -> Any:
        """Return Jina's report of this process, with the addresses of the stages, to those who may see the status."""
        try:
            self._door.identify(STATUS, _caller(context))
        except VisualSearchError as error:
            await context.abort(StatusCode.UNAUTHENTICATED, str(error))
        return await self._inner._status(empty, context)

    async def stream_doc(
        self, request: SingleDocumentRequest, context: Any = None
    ) -> AsyncIterator[SingleDocumentRequest]:
        """Refuse streams of single documents, which this gateway does not offer; Jina would send the input back."""
        endpoint = request.header.exec_endpoint
        _set_error(request, VisualSearchError("unknown_endpoint", f"{endpoint!r} does not stream single documents"))
        yield request

    async def _answer(self, request: DataRequest, context: Any, held: asyncio.Event | None = None) -> DataRequest:
        """Answer one request; `held` is set as soon as it has its memory, or was refused.

        The request id is that of the call's metadata, else that of the message's header. The answer's header has it.
        """
        given = _given_id(context)
        with request_scope(request_id_from(given)):
            answer = await self._answer_in_scope(request, context, given, held)
            answer.header.request_id = current_request_id()
            return answer

    async def _answer_in_scope(
        self, request: DataRequest, context: Any, given: str | None, held: asyncio.Event | None
    ) -> DataRequest:
        if request.buffer == b"":  # Jina does not decode it, but it is a valid, empty message
            request = DataRequest(jina_pb2.DataRequestProto())
        try:
            size = _size_of(request)
            path = _path_of(request)
            set_request_id(request_id_from(given, request.header.request_id))
            endpoint = endpoint_for_grpc(path)

            async def read(body: Held) -> Body:
                await body.add_whole(size)
                if held is not None:
                    held.set()
                documents = _read_documents(request)
                del request.proto_with_data.data.docs.docs[:]  # don't keep them twice
                return documents, _read_parameters(request)

            answer = await self._door.answer(endpoint, _caller(context), read, weight=_WEIGHT)
            # If the endpoint always answers, its report stands in the parameters of the response.
            parameters = answer.extra if endpoint.always else answer.info()
            _answer_with(request, documents_for_grpc(endpoint.rendering, answer), parameters)
        except Exception as error:
            if request.buffer:  # it could not be decoded, so the answer needs a new message
                request = DataRequest(jina_pb2.DataRequestProto())
            _set_error(request, as_error(error, "gateway"))
        finally:
            if held is not None:
                held.set()
        return request


def _given_id(context: Any) -> str | None:
    """Return the request id in the metadata of the call, which all messages of a stream share."""
    metadata = context.invocation_metadata() if context is not None else None
    return next((value for key, value in metadata or () if key == METADATA_KEY), None)


def _size_of(request: DataRequest) -> int:
    """Return the size of a message in bytes."""
    return int(request.proto_with_data.ByteSize()) if request.buffer is None else len(request.buffer)


def _caller(context: Any) -> Caller:
    """Return the caller of a request, from its gRPC context."""
    if context is None:
        return Caller("grpc")
    metadata = ((str(name), value) for name, value in context.invocation_metadata() or () if isinstance(value, str))
    return Caller("grpc", _address_of(context.peer()), sent_keys(metadata))


def _address_of(peer: str) -> str:
    """Return the address in gRPC's name of a caller, such as `ipv4:127.0.0.1:5000` or `ipv6:%5B::1%5D:5000`."""
    return unquote(peer).partition(":")[2].rpartition(":")[0].strip("[]") or peer


def _path_of(request: DataRequest) -> str:
    """Return the endpoint that a request names.

    Raises:
        VisualSearchError: `malformed_body` for bytes that are not a message.
    """
    try:
        return str(request.header.exec_endpoint)
    except DecodeError as error:
        raise VisualSearchError("malformed_body", f"the message can't be read: {error}") from None


def _answer_with(request: DataRequest, documents: Sequence[ImageDoc], parameters: dict[str, Any]) -> None:
    """Turn a request into its answer: documents, and everything else in its parameters."""
    request.document_array_cls = DocList[ImageDoc]
    request.data.docs = DocList[ImageDoc](documents)
    request.parameters = parameters


def _read_parameters(request: DataRequest) -> dict[str, Any]:
    """Return the parameters of a request.

    Raises:
        VisualSearchError: `invalid_parameter` for numbers that JSON does not have.
    """
    try:
        parameters = dict(request.parameters)
    except Exception as error:
        raise VisualSearchError("invalid_parameter", f"the parameters can't be read: {error}") from None
    parameters.pop(_JINA_RESULTS, None)
    return parameters


def _read_documents(request: DataRequest) -> list[ImageDoc]:
    """Return the documents of a request; one that can't be read carries an error, and the others are still read.

    Raises:
        VisualSearchError: `malformed_body`.
    """
    try:
        content = request.proto_with_data.data
    except DecodeError as error:  # text that is not UTF-8 in a field, for example
        raise VisualSearchError("malformed_body", f"the documents can't be read: {error}") from None
    messages = content.docs.docs
    if content.WhichOneof("documents") == "docs_bytes":
        try:
            messages = DocListProto.FromString(content.docs_bytes).docs
        except Exception as error:
            raise VisualSearchError("malformed_body", f"the documents can't be read: {error}") from None
        request.document_array_cls = DocList[ImageDoc]
    return [_read_document(message) for message in messages]


def _read_document(message: DocProto) -> ImageDoc:
    try:
        document = ImageDoc.from_protobuf(message)
        fault = document.error if FAULT in message.data else None
        _drop_answers(document)
        document.error = fault
        if document.tags and message.data["tags"].WhichOneof("content") == "text":
            # Read the tags again, because docarray rounds integers beyond 64 bits. The door checks them.
            vars(document)["tags"] = read_json(message.data["tags"].text)
        return document
    except InvalidJsonError as error:
        fault = _failure("invalid_tags", f"`tags` {error}")
    except Exception as error:
        fault = _failure("invalid_document", f"the document can't be read: {error}")
    given = message.data["id"].text if "id" in message.data else None
    return ImageDoc.from_values(id=given, error=fault)


def _failure(code: ErrorCode, message: str) -> Failure:
    return Failure.of(VisualSearchError(code, message), "gateway")


def _drop_answers(document: ImageDoc) -> None:
    """Clear the fields that only answers have; a caller may not set them."""
    document.version = document.result = document.error = document.hits = None
    document.shards_total = document.shards_answered = None
    if document.matches:
        del document.matches[:]


def _set_error(request: Any, error: VisualSearchError) -> None:
    """Turn a request into an error answer: Jina's client raises, with the code in the message and without a stack trace."""
    status = request.header.status
    status.code = jina_pb2.StatusProto.ERROR
    status.description = str(error)
    status.exception.name = error.code
    status.exception.args.append(error.message)
    if isinstance(request, DataRequest):
        del request.proto_with_data.data.docs.docs[:]
