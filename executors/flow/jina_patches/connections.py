"""Connections between the processes of a flow: what Jina asks on them, what it measures, and how soon they come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import jina.orchestrate.orchestrator as orchestrator
from jina.proto.jina_pb2_grpc import (
    JinaDataRequestRPCStub,
    JinaDiscoverEndpointsRPCStub,
    JinaInfoRPCStub,
    JinaRPCStub,
    JinaSingleDataRequestRPCStub,
    JinaSingleDocumentRequestRPCStub,
)
from jina.serve.networking import GrpcConnectionPool
from jina.serve.networking.connection_stub import _ConnectionStubs
from jina.serve.runtimes.head.request_handling import HeaderRequestHandler
from jina.serve.runtimes.servers.grpc import GRPCServer
from jina.serve.runtimes.worker.request_handling import WorkerRequestHandler

from executors.flow.outgoing import note_call
from executors.hosts import url_host
from executors.request_id import METADATA_KEY, current_request_id, set_request_id

# gRPC waits up to two minutes between attempts: a stage that was away for 45 s was refused for 25 s more, with these for one.
# https://grpc.github.io/grpc/core/group__grpc__arg__keys.html
RECONNECT: Final = {
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1000,
}


def reconnect_soon() -> None:
    """Have the gateway and the heads try again soon to reach a stage that was away; what a flow file says itself wins."""
    make = GrpcConnectionPool.__init__

    def make_reconnecting(self: GrpcConnectionPool, *args: Any, channel_options: Any = None, **kwargs: Any) -> None:
        make(self, *args, channel_options=RECONNECT | dict(channel_options or {}), **kwargs)

    GrpcConnectionPool.__init__ = make_reconnecting


def listen_on_ipv6() -> None:
    """gRPC wants an IPv6 address in brackets before the port."""
    GRPCServer.host = property(lambda self: url_host(self.runtime_args.host))


def send_unmeasured() -> None:
    """Keep Jina from serialising every message twice more, only to know its size for metrics that are switched off.

    And note each call for the request that it is made for, so that it ends when its caller has gone.
    """
    measured = _ConnectionStubs.send_requests

    async def send_requests(self: _ConnectionStubs, requests: list[Any], **options: Any) -> Any:
        if self._metrics.send_requests_bytes_metrics or self._histograms.send_requests_bytes_metrics:
            return await measured(self, requests=requests, **options)
        if not self._initialized:
            await self._init_stubs()
        if len(requests) == 1:
            call = self.single_data_stub.process_single_data(requests[0], **options)
        else:
            call = self.data_list_stub.process_data(requests, **options)
        note_call(call)
        try:
            answered = await call.trailing_metadata()
            return await call, answered
        except asyncio.CancelledError:
            # Only what awaits the call itself ends it at the other side, too.
            call.cancel()
            raise

    _ConnectionStubs.send_requests = send_requests


def ask_no_public_address() -> None:
    """Keep Jina from asking a public service for this machine's address when a flow is loaded."""
    orchestrator.get_public_ip = lambda *_, **__: None


def carry_request_ids() -> None:
    """Have the id of a request travel from the gateway over the heads to the stages, as gRPC metadata of each call."""
    send = _ConnectionStubs.send_requests

    async def send_requests(self: _ConnectionStubs, requests: list[Any], metadata: Any = None, **options: Any) -> Any:
        if request_id := current_request_id():
            metadata = (*(metadata or ()), (METADATA_KEY, request_id))
        return await send(self, requests=requests, metadata=metadata, **options)

    _ConnectionStubs.send_requests = send_requests
    for handler in (HeaderRequestHandler, WorkerRequestHandler):
        handler.process_data = _with_request_id(handler.process_data)


def _with_request_id(process: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def process_data(self: Any, requests: list[Any], context: Any, *args: Any, **options: Any) -> Any:
        metadata = context.invocation_metadata() if context is not None else None
        set_request_id(next((value for key, value in metadata or () if key == METADATA_KEY), ""))
        return await process(self, requests, context, *args, **options)

    return process_data


def bound_first_contact() -> None:
    """Keep a hung pod from hanging its callers.

    On each new connection Jina first asks which services there are, without a deadline: a stopped process accepts the
    connection and never answers. All our pods offer the same services, so nothing is asked, and the deadline of the
    request itself holds from the first one on.
    """

    async def assume_all_services(self: _ConnectionStubs) -> None:
        self.data_list_stub = JinaDataRequestRPCStub(self.channel)
        self.single_data_stub = JinaSingleDataRequestRPCStub(self.channel)
        self.stream_doc_stub = JinaSingleDocumentRequestRPCStub(self.channel)
        self.stream_stub = JinaRPCStub(self.channel)
        self.endpoints_discovery_stub = JinaDiscoverEndpointsRPCStub(self.channel)
        self.info_rpc_stub = JinaInfoRPCStub(self.channel)
        self._initialized = True

    _ConnectionStubs._init_stubs = assume_all_services
