"""Every field of a document, wrong in every way, over both protocols: it costs its own document and no other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

import aiohttp
import numpy as np
import pytest
from docarray.proto import DocProto, NodeProto
from jina.types.request.data import DataRequest

from executors.documents import ImageDoc
from executors.errors import ERRORS
from executors.gateway.grpc_service import GrpcService
from tests.support.flows.local_gateway import LocalGateway, local_gateway

ENDPOINTS: Final = ("/index", "/search", "/embed", "/get", "/update", "/delete")
FIELDS: Final = tuple(ImageDoc.model_fields)
TEXTS: Final = ("id", "collection", "parent", "text", "uri", "model_id")
VECTOR: Final = (1.0, 0.0, 0.0, 0.0)
GOOD: Final = ("good-0", "good-1")

# As they stand in a body.
JSON_KINDS: Final = {
    "true": "true",
    "number": "7",
    "fraction": "0.5",
    "endless number": "1e999",
    "long number": "9" * 400,
    "empty text": '""',
    "text": '"text"',
    "half a character": '"\\ud800"',
    "empty list": "[]",
    "numbers": "[1, 2]",
    "endless numbers": "[1, 2, 3, 1e999]",
    "zeros": "[0, 0, 0, 0]",
    "texts": '["a", "b", "c", "d"]',
    "nothings": "[null, null, null, null]",
    "lists": "[[1, 2], [3, 4]]",
    "uneven lists": "[[1, 2], [3]]",
    "object": '{"a": 1}',
    "object of endless number": '{"a": 1e999}',
    "object of half a character": '{"a": "\\ud800"}',
}
# What a field may be. What only an answer has is unknown in a document of HTTP.
RIGHT_JSON: Final[dict[str, set[str]]] = {
    "id": {"text"},
    "collection": {"text"},
    "parent": {"text", "empty text"},
    "text": {"text", "empty text"},
    "uri": {"text", "empty text"},
    "model_id": {"text"},
    "blob": {"text"},
    "thumbnail": {"text"},
    "embedding": {"numbers"},
    "tags": {"object"},
    "box": {"zeros"},
}


def _array(dtype: str, shape: tuple[int, ...], buffer: bytes) -> Callable[[NodeProto], None]:
    def put(node: NodeProto) -> None:
        node.ndarray.dense.buffer = buffer
        node.ndarray.dense.shape.extend(shape)
        node.ndarray.dense.dtype = dtype
        node.type = "ndarray"

    return put


def _of(values: Any) -> Callable[[NodeProto], None]:
    array = np.asarray(values)
    return _array(array.dtype.str, array.shape, array.tobytes())


def _set(name: str, value: Any) -> Callable[[NodeProto], None]:
    return lambda node: setattr(node, name, value)


def _nested(node: NodeProto) -> None:
    node.doc.data["id"].text = "inner"


def _dictionary(node: NodeProto) -> None:
    node.dict.data["a"].text = "b"


def _list(node: NodeProto) -> None:
    node.list.data.add().text = "a"


# As they stand in a message: each kind of content, JSON of each kind in a text, and arrays of each kind.
WIRE_KINDS: Final[dict[str, Callable[[NodeProto], None]]] = {
    **{f"text {name}": _set("text", text) for name, text in JSON_KINDS.items()},
    "no JSON": _set("text", "{"),
    "bytes": _set("blob", b"\xff\xd8"),
    "no bytes": _set("blob", b""),
    "integer": _set("integer", 7),
    "float": _set("float", 0.5),
    "boolean": _set("boolean", True),
    "document": _nested,
    "dictionary": _dictionary,
    "list": _list,
    "array": _of([0.5, 0.5, 0.5, 0.5]),
    "array of integers": _of([1, 2, 3, 4]),
    "array of zeros": _of([0.0, 0.0, 0.0, 0.0]),
    "array of NaN": _of([1.0, np.nan, 0.0, 0.0]),
    "array of texts": _of(["a", "b"]),
    "array of dates": _of(np.array(["2024-01-01"], "datetime64[D]")),
    "array of booleans": _of([True, False]),
    "matrix": _of([[1.0, 2.0], [3.0, 4.0]]),
    "number as an array": _of(1.5),
    "empty array": _of([]),
    "array of objects": _array("|O", (1,), bytes(8)),
    "array of an unknown type": _array("what", (1,), bytes(8)),
    "array without a type": _array("", (2,), bytes(16)),
    "array that is too short": _array("<f8", (9,), bytes(16)),
    "array that is uneven": _array("<f8", (2,), bytes(15)),
    "array of an endless length": _array("<f8", (2**31, 2**31), bytes(16)),
}


# The kinds that a field may be, and those that another client's encoding makes of such a value.
_NUMBERS: Final = {"array", "array of integers"}
_JSON_TEXTS: Final = {f"text {name}" for name in JSON_KINDS}
RIGHT_ON_THE_WIRE: Final[dict[str, set[str]]] = {
    **{name: _JSON_TEXTS | {"no JSON"} for name in TEXTS},
    "blob": {"bytes"},
    "thumbnail": {"bytes", "no bytes"},  # where only ids count, one is not looked at
    # The stage that decodes pictures checks shape and type.
    "tensor": {name for name in WIRE_KINDS if "array" in name} | {"matrix", "integer", "float"},
    "embedding": _NUMBERS,
    "tags": {"text object", "dictionary"},
    "box": {"text zeros"},
    # What only an answer has is not taken from a caller.
    **{name: set(WIRE_KINDS) for name in FIELDS[FIELDS.index("version") :]},
}


@dataclass(frozen=True, slots=True)
class Told:
    """The result of one document."""

    id: str | None
    code: str | None


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    async with local_gateway(2) as running:
        for number, name in enumerate(GOOD):
            await running.call.index(name, shard=number)
        yield running


async def by_http(gateway: LocalGateway, endpoint: str, field: str) -> dict[str, list[Told]]:
    """The answers to a request for each kind, whose middle document is wrong."""
    told = {}
    async with aiohttp.ClientSession(gateway.url) as http:
        for kind, value in JSON_KINDS.items():
            content = {} if endpoint == "/update" else {"embedding": json.dumps(VECTOR)}
            given = [{"id": json.dumps(name)} | content for name in (GOOD[0], "bad", GOOD[1])]
            given[1][field] = value
            written = [", ".join(f'"{name}": {text}' for name, text in each.items()) for each in given]
            body = f'{{"data": [{", ".join(f"{{{each}}}" for each in written)}]}}'
            async with http.post(endpoint, data=body, headers={"Content-Type": "application/json"}) as answer:
                found = await answer.json()
            assert "data" in found, (kind, found)
            told[kind] = [Told(each["id"], each["error"] and each["error"]["code"]) for each in found["data"]]
    return told


async def by_grpc(gateway: LocalGateway, endpoint: str, field: str) -> dict[str, list[Told]]:
    """The same."""
    inner = SimpleNamespace(streamer=None, executor=None)
    service = GrpcService(inner, gateway.call.door)
    vector = None if endpoint == "/update" else np.asarray(VECTOR, dtype=np.float32)
    told = {}
    for kind, put in WIRE_KINDS.items():
        messages = [ImageDoc.from_values(id=name, embedding=vector).to_protobuf() for name in (GOOD[0], "bad", GOOD[1])]
        node = NodeProto()
        put(node)
        messages[1].data[field].CopyFrom(node)
        told[kind] = await _sent(service, endpoint, messages)
    return told


async def _sent(service: GrpcService, endpoint: str, messages: list[DocProto]) -> list[Told]:
    request = DataRequest()
    request.header.exec_endpoint = endpoint
    request.proto_with_data.data.docs.docs.extend(messages)
    answer = await service.process_single_data(DataRequest(request.SerializeToString()))
    assert not answer.header.status.code, answer.header.status.description
    sent = DataRequest(answer.SerializeToString()).proto_with_data.data.docs.docs
    found = [ImageDoc.from_protobuf(each) for each in sent]
    return [Told(each.id, each.error.code if each.error else None) for each in found]


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(("ask", "right"), [(by_http, RIGHT_JSON), (by_grpc, RIGHT_ON_THE_WIRE)], ids=["http", "grpc"])
async def test_a_wrong_field_costs_its_own_document_only(
    gateway: LocalGateway,
    caplog: pytest.LogCaptureFixture,
    ask: Callable[[LocalGateway, str, str], Any],
    right: dict[str, set[str]],
    endpoint: str,
) -> None:
    for field in FIELDS:
        for kind, (first, bad, last) in (await ask(gateway, endpoint, field)).items():
            case = f"{field}: {kind}"
            assert [first, last] == [Told(name, None) for name in GOOD], case
            if kind in right.get(field, set()):
                continue
            assert bad.code is not None, f"{case} was taken"
            assert ERRORS[bad.code].status < 500, (case, bad.code)
            assert bad.code not in ("not_found", "collection_not_found"), case
    assert "defect" not in caplog.text
