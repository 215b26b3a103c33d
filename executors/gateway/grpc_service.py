"""The gRPC side: Jina's own protocol, with every request through the same door as HTTP.

Jina's servicer would pass requests on as they are, answer an unknown endpoint with its input, and hang a client whose
request raised while it was read. Here nothing raised leaves a stream: every request gets an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from docarray import DocList
from jina.proto import jina_pb2
from jina.types.request.data import DataRequest, SingleDocumentRequest

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError
from executors.gateway.health import Health
from executors.gateway.rendering import documents_for_grpc
from executors.gateway.service import SearchService
from executors.gateway.status import status_report
from executors.lifecycle import Logger, as_error

# Requests of one stream that are worked on at the same time.
_PREFETCH = 16
# Jina's clients put this key of Jina's own into the parameters that they send.
_JINA_RESULTS = "__results__"


class GrpcService:
    """Stands in front of Jina's gateway servicer; whatever is not a request for documents goes on to that one."""

    def __init__(self, inner: Any, service: SearchService, health: Health, logger: Logger) -> None:
        self._inner = inner
        self._service = service
        self._health = health
        self._logger = logger
        self.streamer = inner.streamer
        self.executor = inner.executor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def stream(
        self, request_iterator: AsyncIterator[DataRequest], context: Any = None, *_: Any, **__: Any
    ) -> AsyncIterator[DataRequest]:
        """Answer a stream of requests in its order, several at once; back-pressure by not reading further."""
        pending: asyncio.Queue[asyncio.Task[DataRequest] | None] = asyncio.Queue(maxsize=_PREFETCH)

        async def read() -> None:
            try:
                async for request in request_iterator:
                    await pending.put(asyncio.create_task(self._answer(request)))
            finally:
                await pending.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await pending.get()) is not None:
                yield await task
        finally:
            reader.cancel()
            while not pending.empty():
                if (task := pending.get_nowait()) is not None:
                    task.cancel()

    Call = stream

    async def process_single_data(self, request: DataRequest, context: Any = None) -> DataRequest:
        """Answer one request."""
        return await self._answer(request)

    async def stream_doc(
        self, request: SingleDocumentRequest, context: Any = None
    ) -> AsyncIterator[SingleDocumentRequest]:
        """Token streams are not offered: refuse instead of echoing."""
        endpoint = request.header.exec_endpoint
        _set_error(request, VisualSearchError("unknown_endpoint", f"{endpoint!r} does not stream single documents"))
        yield request

    async def _answer(self, request: DataRequest) -> DataRequest:
        try:
            endpoint = request.header.exec_endpoint
            if endpoint == "/status":
                # As over HTTP: also of a flow that is not ready. The report takes the place of the parameters.
                _answer_with(request, [], await status_report(self._service, self._health))
                return request
            self._health.check_ready()
            documents = _read_documents(request, endpoint)
            parameters = _read_parameters(request)
            async with self._service.admitted():
                answer = await self._service.handle(endpoint, documents, parameters)
            _answer_with(request, documents_for_grpc(endpoint, answer.documents), answer.info())
        except Exception as error:
            _set_error(request, as_error(error, "gateway", self._logger))
        return request


def _answer_with(request: DataRequest, documents: Sequence[ImageDoc], parameters: dict[str, Any]) -> None:
    """Put an answer in place of what was asked; what is no document stands in its parameters."""
    request.document_array_cls = DocList[ImageDoc]
    request.data.docs = DocList[ImageDoc](documents)
    request.parameters = parameters


def _read_parameters(request: DataRequest) -> dict[str, Any]:
    """The parameters of a request.

    Raises:
        VisualSearchError: `invalid_parameter` for numbers that JSON does not have.
    """
    try:
        parameters = dict(request.parameters)
    except Exception as error:
        raise VisualSearchError("invalid_parameter", f"the parameters can't be read: {error}") from None
    parameters.pop(_JINA_RESULTS, None)
    return parameters


def _read_documents(request: DataRequest, endpoint: str) -> list[ImageDoc]:
    """The documents of a request; one that can't be read carries its error and costs no other.

    Raises:
        VisualSearchError: `malformed_body`.
    """
    content = request.proto_with_data.data
    if content.WhichOneof("documents") == "docs_bytes":
        request.document_array_cls = DocList[ImageDoc]
        try:
            documents = list(request.docs)
        except Exception as error:
            raise VisualSearchError("malformed_body", f"the documents can't be read: {error}") from None
        for document in documents:
            _drop_answers(document, endpoint)
        return documents
    documents = []
    for message in content.docs.docs:
        try:
            document = ImageDoc.from_protobuf(message)
            _drop_answers(document, endpoint)
        except Exception as error:
            fault = VisualSearchError("invalid_document", f"the document can't be read: {error}")
            given = message.data["id"].text if "id" in message.data else ""
            document = ImageDoc.from_values(id=given, error=Failure(**fault.to_json(), stage="gateway"))
        documents.append(document)
    return documents


def _drop_answers(document: ImageDoc, endpoint: str) -> None:
    """Fields that only an answer has are not taken from a caller."""
    document.version = document.result = document.error = document.hits = None
    if endpoint != "/index":
        document.thumbnail = None
    document.shards_total = document.shards_answered = None
    if document.matches:
        del document.matches[:]


def _set_error(request: Any, error: VisualSearchError) -> None:
    """Make the answer one that raises on the caller's side, with the code in its message and no stack trace."""
    status = request.header.status
    status.code = jina_pb2.StatusProto.ERROR
    status.description = str(error)
    status.exception.name = error.code
    status.exception.args.append(error.message)
    if isinstance(request, DataRequest):
        del request.proto_with_data.data.docs.docs[:]
