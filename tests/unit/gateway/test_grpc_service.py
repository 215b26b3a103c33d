"""gRPC requests as other clients write them: an invalid document gets an error, and the others are still answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from docarray.proto import DocProto
from jina.types.request.data import DataRequest

from executors.documents import ImageDoc
from executors.gateway.door import Door
from executors.gateway.endpoints import ENDPOINTS
from executors.gateway.grpc_service import GrpcService
from executors.gateway.intake import Intake, IntakeLimits
from tests.support.flows.api import unit_vectors
from tests.support.flows.local_index import local_service


async def serving(*, ready: bool = True) -> GrpcService:
    """The service over an index of its own."""
    service, _ = await local_service(1)
    if ready:
        service.readiness.set_ready()
    door = Door(service, Intake(IntakeLimits(10, 10_000_000, 10.0, 1000)), max_documents=100, timeout_s=10.0)
    return GrpcService(SimpleNamespace(streamer=None, executor=None), door)


async def answers(*messages: DocProto) -> list[ImageDoc]:
    """Post messages to `/index`, and return the answered documents."""
    request = DataRequest()
    request.header.exec_endpoint = "/index"
    request.proto_with_data.data.docs.docs.extend(messages)
    answer = await (await serving()).process_single_data(request)
    assert not answer.header.status.code, answer.header.status.description
    return [ImageDoc.from_protobuf(each) for each in answer.proto_with_data.data.docs.docs]


def message(document_id: str, tags: str = "{}") -> DocProto:
    encoded = ImageDoc(id=document_id, embedding=unit_vectors(1)[0], model_id="m").to_protobuf()
    encoded.data["tags"].text = tags
    return encoded


@pytest.mark.parametrize("tags", ['{"n": 12345678901234567890123}', '{"n": -18446744073709551617}'])
async def test_a_number_that_can_not_be_kept_is_refused_and_never_rounded(tags: str) -> None:
    good, bad = await answers(message("good", '{"n": 1e22}'), message("bad", tags))
    assert (good.result, good.error) == ("created", None)
    assert bad.error is not None
    assert (bad.id, bad.error.code) == ("bad", "invalid_tags")


async def test_an_empty_collection_is_refused() -> None:
    empty = message("a")
    empty.data["collection"].text = ""
    refused, kept = await answers(empty, message("a"))
    assert refused.error is not None
    assert (refused.error.code, kept.result) == ("invalid_document", "created")


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"\xff" * 20, "malformed_body"), (bytes(range(256)), "malformed_body"), (b"", "unknown_endpoint")],
)
async def test_bytes_that_are_no_request_are_no_defect(
    sent: bytes, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    service = await serving()

    async def stream() -> AsyncIterator[DataRequest]:
        for _ in range(2):
            yield DataRequest(sent)

    streamed = [each async for each in service.stream(stream())]
    for answer in (await service.process_single_data(DataRequest(sent)), *streamed):
        assert answer.header.status.exception.name == code
        assert answer.SerializeToString()
    assert "defect" not in caplog.text


async def test_text_that_is_not_utf8_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    request = DataRequest()
    request.header.exec_endpoint = "/index"
    request.proto_with_data.data.docs.docs.append(message("four"))
    broken = DataRequest(request.SerializeToString().replace(b"four", b"f\xff\xfer"))
    answer = await (await serving()).process_single_data(broken)
    assert answer.header.status.exception.name == "malformed_body"
    assert answer.SerializeToString()
    assert "defect" not in caplog.text


async def test_the_answer_has_the_id_of_the_metadata_or_of_the_message() -> None:
    service = await serving()

    async def id_of(given: str, *metadata: tuple[str, str]) -> str:
        request = DataRequest()
        request.header.request_id = given
        context = SimpleNamespace(invocation_metadata=lambda: metadata)
        return str((await service.process_single_data(request, context)).header.request_id)

    assert await id_of("of-the-message", ("other", "x"), ("x-request-id", "of-the-call")) == "of-the-call"
    assert await id_of("of-the-message", ("x-request-id", "not valid")) == "of-the-message"
    assert await id_of("not valid") not in ("", "not valid")


async def test_a_message_that_can_not_be_read_is_answered_with_an_id() -> None:
    answer = await (await serving()).process_single_data(DataRequest(b"\xff\xff"))
    assert answer.header.status.exception.name == "malformed_body"
    assert answer.header.request_id


@pytest.mark.parametrize("path", ["/thumbnail", "/watch", "/sample", "/adopt", "/nothing", ""])
async def test_what_is_no_endpoint_of_grpc_is_unknown(path: str) -> None:
    request = DataRequest()
    request.header.exec_endpoint = path
    answer = await (await serving()).process_single_data(request)
    assert answer.header.status.exception.name == "unknown_endpoint"


@pytest.mark.parametrize("path", [each.path for each in ENDPOINTS if each.grpc])
async def test_only_the_status_is_told_before_the_flow_is_ready(path: str) -> None:
    service = await serving(ready=False)
    request = DataRequest()
    request.header.exec_endpoint = path
    answer = await service.process_single_data(request)
    assert answer.header.status.exception.name == ("" if path == "/status" else "not_ready")
