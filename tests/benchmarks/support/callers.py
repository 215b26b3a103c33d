"""Callers that cost next to nothing: bodies that are ready before the clock starts, sent over one connection that stays open."""

from __future__ import annotations

import base64
import http.client
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import orjson
from docarray import BaseDoc, DocList
from jina.types.request.data import DataRequest
from numpy.typing import NDArray

from executors.documents import ImageDoc

_GRPC_METHOD = "/jina.JinaSingleDataRequestRPC/process_single_data"
_GRPC_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class Body:
    """The body of an HTTP request."""

    content: bytes
    content_type: str = "application/json"


# Servers close a connection that nothing came over for 5 s, as uvicorn does by default.
_IDLE_S = 3.0


@dataclass(slots=True)
class HttpCaller:
    """One connection to an HTTP server that stays open while requests follow each other."""

    port: int
    _connection: http.client.HTTPConnection = field(init=False)
    _used: float = 0.0

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def post(self, path: str, body: Body) -> bytes:
        """Return the answer to one request.

        Raises:
            RuntimeError: the answer is not 200.
        """
        if time.monotonic() - self._used > _IDLE_S:
            self._connection.close()  # the request opens it again
        self._connection.request("POST", path, body.content, {"Content-Type": body.content_type})
        answer = self._connection.getresponse()
        content = answer.read()
        self._used = time.monotonic()
        if answer.status != 200:
            raise RuntimeError(f"{path} answered {answer.status}: {content[:500]!r}")
        return content

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(slots=True)
class GrpcCaller:
    """One channel to the gRPC side of a flow."""

    port: int
    _channel: Any = field(init=False)
    _call: Any = field(init=False)

    def __post_init__(self) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=_GRPC_OPTIONS)
        self._call = self._channel.unary_unary(_GRPC_METHOD)

    def post(self, message: bytes) -> bytes:
        """Return the answer to one request; both are messages of Jina's protocol."""
        return bytes(self._call(message, timeout=120))

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def grpc_message(path: str, documents: Sequence[BaseDoc], parameters: Mapping[str, Any]) -> bytes:
    """Return a request with documents of one type as the bytes that Jina's own client would send."""
    request = DataRequest()
    request.header.exec_endpoint = path
    request.header.request_id = uuid.uuid4().hex
    request.parameters = dict(parameters)
    of_type: Any = DocList.__class_getitem__(type(documents[0]))
    request.document_array_cls = of_type
    request.data.docs = of_type(documents)
    return bytes(request.proto.SerializeToString())


def grpc_documents(answer: bytes) -> DocList[ImageDoc]:
    """Return the documents of an answer.

    Raises:
        RuntimeError: the request was refused.
    """
    request = DataRequest(answer)
    if request.status.code:
        raise RuntimeError(request.status.description)
    request.document_array_cls = DocList[ImageDoc]
    return request.docs


def vector_body(vector: NDArray[np.float32], limit: int) -> Body:
    """Return a search by vector as JSON."""
    return json_body({"data": [{"embedding": vector.tolist()}], "parameters": {"limit": limit}})


def json_body(value: Any) -> Body:
    """Return a value as a JSON body."""
    return Body(orjson.dumps(value))


def pictures_as_json(pictures: Sequence[bytes], ids: Sequence[str]) -> Body:
    """Return pictures to index as JSON, in base64."""
    data = [{"id": id_, "blob": base64.b64encode(each).decode()} for id_, each in zip(ids, pictures, strict=True)]
    return json_body({"data": data})


def pictures_as_form(
    pictures: Sequence[bytes], ids: Sequence[str] | None = None, parameters: Mapping[str, Any] | None = None
) -> Body:
    """Return pictures as a multipart form, with their ids and the parameters of the request."""
    boundary = uuid.uuid4().hex
    parts = []
    for each in pictures:
        parts += [_head(boundary, 'name="file"; filename="photo.jpg"', "image/jpeg"), each]
    for name, value in (("ids", ids), ("parameters", parameters)):
        if value is not None:
            parts += [_head(boundary, f'name="{name}"', "application/json"), json.dumps(value).encode()]
    parts.append(f"\r\n--{boundary}--\r\n".encode())
    return Body(b"".join(parts), f"multipart/form-data; boundary={boundary}")


def _head(boundary: str, disposition: str, content_type: str) -> bytes:
    return (
        f"\r\n--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {content_type}\r\n\r\n"
    ).encode()
