"""Asks each replica of a stage by itself, without waiting for a turn."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any, Final

import grpc
from docarray import DocList
from grpc.aio import AioRpcError
from jina.proto import jina_pb2
from jina.serve.runtimes.gateway.streamer import GatewayStreamer
from jina.types.request.data import DataRequest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.flow.jina_patches.deliveries import absences_of, addresses_of, connection_to

_ANSWER_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class ReplicaAnswer:
    """The answer of one replica, or the error in its place.

    Args:
        name: Jina's name for the replica's process, such as `embed/rep-1`.
    """

    name: str
    document: ImageDoc | None
    error: VisualSearchError | None = None


def replica_names(streamer: GatewayStreamer, stage: str) -> list[str]:
    """Return the names of the stage's processes that the gateway calls, in their order."""
    return [f"{stage}/rep-{number}" for number in range(len(addresses_of(_replicas(streamer, stage))))]


def process_addresses(streamer: GatewayStreamer) -> list[str]:
    """Return the addresses, `host:port`, of all processes that the gateway calls."""
    # The end of the graph is the gateway itself.
    found = [_find_replicas(streamer, node.name) for node in streamer.topology_graph.all_nodes]
    return [address for replicas in found if replicas is not None for address in addresses_of(replicas)]


async def ask_each(streamer: GatewayStreamer, stage: str, endpoint: str) -> list[ReplicaAnswer]:
    """Send the same request to every replica of a stage at the same time."""
    replicas = _replicas(streamer, stage)
    names = replica_names(streamer, stage)
    asked = (_ask(replicas, address, endpoint) for address in addresses_of(replicas))
    answers = await asyncio.gather(*asked)
    return [
        ReplicaAnswer(name, answer) if isinstance(answer, ImageDoc) else ReplicaAnswer(name, None, answer)
        for name, answer in zip(names, answers, strict=True)
    ]


async def silent_replicas(streamer: GatewayStreamer, stage: str) -> list[str]:
    """Return the names of the stage's processes that answer no request at all."""
    replicas = _replicas(streamer, stage)
    answers = await asyncio.gather(*(absences_of(replicas).answers(each) for each in addresses_of(replicas)))
    return [name for name, answered in zip(replica_names(streamer, stage), answers, strict=True) if not answered]


def _replicas(streamer: GatewayStreamer, stage: str) -> Any:
    found = _find_replicas(streamer, stage)
    if found is None:
        raise VisualSearchError("unavailable", f"the flow has no stage {stage!r}", stage=stage)
    return found


def _find_replicas(streamer: GatewayStreamer, stage: str) -> Any:
    return streamer._connection_pool._connections.get_replicas(stage, head=True, increase_access_count=False)


async def _ask(replicas: Any, address: str, endpoint: str) -> ImageDoc | VisualSearchError:
    if not await absences_of(replicas).answers(address):
        return VisualSearchError("unavailable", "the replica does not answer")
    request = DataRequest()
    request.document_array_cls = DocList[ImageDoc]
    request.data.docs = DocList[ImageDoc]([ImageDoc.from_values(id="status")])
    request.header.exec_endpoint = endpoint
    request.header.request_id = uuid.uuid4().hex
    try:
        response = await _sent(replicas, address, request, endpoint)
    except AioRpcError as error:
        late = error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        return VisualSearchError("deadline_exceeded" if late else "unavailable", f"{endpoint}: no answer")
    response.document_array_cls = DocList[ImageDoc]
    # If the endpoint raised, Jina answers with the documents of the request and an error status.
    if response.header.status.code == jina_pb2.StatusProto.ERROR or len(response.docs) != 1:
        return VisualSearchError("internal", f"{endpoint} failed; its log has the details")
    answer: ImageDoc = response.docs[0]
    if answer.error is not None:
        return answer.error.to_error()
    return answer


async def _sent(replicas: Any, address: str, request: DataRequest, endpoint: str) -> DataRequest:
    """Return the answer; a connection that broke is used once more, because it may have been closed while it was idle.

    Raises:
        AioRpcError: there is no answer.
    """
    options = {"metadata": (("endpoint", endpoint),), "compression": grpc.Compression.NoCompression}
    try:
        answered = await connection_to(replicas, address).send_requests(
            requests=[request], timeout=_ANSWER_S, **options
        )
    except AioRpcError as error:
        if error.code() != grpc.StatusCode.UNAVAILABLE:
            raise
        answered = await connection_to(replicas, address).send_requests(
            requests=[request], timeout=_ANSWER_S, **options
        )
    return answered[0]
