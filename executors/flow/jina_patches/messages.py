"""Messages between the processes of a flow: how their documents are written, and what Jina notes of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from docarray import DocList
from jina.proto import serializer
from jina.serve.runtimes.worker.request_handling import WorkerRequestHandler
from jina.types.request.data import DataRequest

from executors.document_bytes import Piece, encode_documents, field
from executors.documents import ImageDoc

_DATA: Final = b"\x22"  # DataRequestProto.data = 4
_DOCS: Final = b"\x0a"  # DataContentProto.docs = 1


def forget_sizes() -> None:
    """Keep Jina from writing the size of every message into the environment, where glibc keeps each value for ever.

    Nothing reads it; a million searches took 2 GiB.
    """
    serializer.DataRequestProto.SerializeToString = staticmethod(_to_bytes)
    serializer.DataRequestProto.FromString = staticmethod(DataRequest)


def write_documents_once() -> None:
    """Have a stage write the documents of its answer with one copy, in place of the four of docarray and protobuf."""
    replace = WorkerRequestHandler.replace_docs

    def replace_docs(request: DataRequest, docs: Any, ndarray_type: str | None = None) -> None:
        if not _are_ours(docs):
            replace(request, docs, ndarray_type)
            return
        request.proto_with_data.ClearField("data")
        request._data = None
        request.direct_docs = docs
        request.encoded_documents = encode_documents(docs)

    DataRequest.encoded_documents = None
    WorkerRequestHandler.replace_docs = staticmethod(replace_docs)


def request_of(endpoint: str, documents: Sequence[ImageDoc], parameters: Mapping[str, Any]) -> DataRequest:
    """A request whose bytes are made already, once for all the processes that get them."""
    request = DataRequest()
    request.header.exec_endpoint = endpoint
    request.parameters = dict(parameters)
    head = request.proto_wo_data.SerializePartialToString()
    return DataRequest(b"".join([head, *_data_of(encode_documents(documents))]))


def _are_ours(docs: Any) -> bool:
    return isinstance(docs, DocList) and all(type(each) is ImageDoc for each in docs)


def _data_of(encoded: list[Piece]) -> list[Piece]:
    return field(_DATA, field(_DOCS, encoded))


def _to_bytes(request: DataRequest) -> bytes:
    if not request.is_decompressed:
        buffer: bytes = request.buffer
        return buffer
    head: bytes = request.proto.SerializePartialToString()
    encoded = request.encoded_documents
    return head if encoded is None else b"".join([head, *_data_of(encoded)])
