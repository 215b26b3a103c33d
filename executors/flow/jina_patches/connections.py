"""Connections between the processes of a flow: what Jina asks on them, what it measures, and how soon they come back."""

from __future__ import annotations

import asyncio
from typing import Any, Final

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
from jina.serve.runtimes.servers.grpc import GRPCServer

from executors.flow.outgoing import note_call
from executors.hosts import url_host

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
