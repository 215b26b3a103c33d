"""One gateway process, HTTP and gRPC, on Jina's CompositeGateway."""

import logging
import uuid
from typing import Any

from fastapi import FastAPI
from jina.serve.runtimes.gateway.composite import CompositeGateway
from jina.serve.runtimes.servers.grpc import GRPCServer
from jina.serve.runtimes.servers.http import FastAPIBaseServer

from executors.flow.exposure import check_exposure
from executors.flow.sharding import from_text
from executors.gateway.access import make_access
from executors.gateway.admission import Gate
from executors.gateway.door import Door
from executors.gateway.flow.arrivals import wait_for_processes
from executors.gateway.flow.replica_calls import process_addresses
from executors.gateway.flow.stages import Stages
from executors.gateway.grpc_service import GrpcService
from executors.gateway.health import Health
from executors.gateway.http.connections import (
    Connections,
    bounded_options,
    connection_limit,
    grpc_connection_limit,
    grpc_options,
    let_kernel_keep_waiting,
)
from executors.gateway.http.protocol import server_options
from executors.gateway.http.routes import make_app
from executors.gateway.intake import Intake, IntakeLimits
from executors.gateway.large_buffers import give_large_buffers_back
from executors.gateway.metrics.port import MetricsPort
from executors.gateway.operations.completion import all_completed
from executors.gateway.operations.service import SearchService
from executors.hosts import is_everywhere
from executors.index.versions import HybridClock
from executors.lifecycle import leave_start_uncollected
from executors.settings import settings

_log = logging.getLogger(__name__)


def _is_news(record: logging.LogRecord) -> bool:
    """Filter out two warnings of Jina at every start: that stages are still starting, and that we have our own `GET /`."""
    message = record.getMessage()
    return not message.startswith(("Getting endpoints failed", 'endpoint GET on "/"'))


# When the gateway stops, it waits this long for writes whose callers have left.
_COMPLETION_S = 3.0


class HttpServer(FastAPIBaseServer):
    """Jina's HTTP server with our application."""

    application: FastAPI
    uvicorn_kwargs: dict[str, Any]

    @property
    def host(self) -> str | None:
        """The address to listen on; None means all, because asyncio would take `::` for those of IPv6 only."""
        host = str(self.runtime_args.host)
        return None if is_everywhere(host) and ":" in host else host

    @property
    def app(self) -> FastAPI:
        """The application; Jina asks for it once."""
        return self.application

    async def setup_server(self) -> None:
        """Set the limit on connections, now that those to the stages are open, and listen."""
        wanted = settings().max_connections
        grpc_limit = grpc_connection_limit()
        limit = connection_limit(wanted, grpc_limit)
        if limit < wanted:
            _log.warning(
                "`ulimit -n` leaves room for %d HTTP connections and %d of gRPC (VS_MAX_CONNECTIONS: %d)",
                limit,
                grpc_limit,
                wanted,
            )
        self.uvicorn_kwargs = {**self.uvicorn_kwargs, **bounded_options(Connections(limit))}
        await super().setup_server()
        let_kernel_keep_waiting(self.server.servers)


class VisualSearchGateway(CompositeGateway):
    """Serves HTTP and gRPC with one service, and joins the flow before it reports that it is ready."""

    servers: list[Any]

    def __init__(self, **kwargs: Any) -> None:
        give_large_buffers_back()
        chosen = settings()
        limits = {
            "grpc.max_receive_message_length": chosen.max_request_bytes,
            **grpc_options(grpc_connection_limit()),
        }
        super().__init__(**(kwargs | {"grpc_server_options": limits}))
        self.logger.logger.addFilter(_is_news)
        clock = HybridClock(uuid.uuid4().hex[:8])
        sharded = from_text(getattr(self.runtime_args, "sharded_stages", "{}"))
        stages = Stages(self.streamer, sharded, direct=chosen.stage_calls == "direct")
        timeout_s = chosen.timeout_ms / 1000
        check_exposure(str(self.runtime_args.host), chosen)
        gate = Gate(chosen.max_concurrency)
        self._service = SearchService(
            stages, gate, clock, timeout_s, replicas=chosen.replicas, access=make_access(chosen)
        )
        self._health = Health(self._service, max_watchers=chosen.max_watchers)
        intake = Intake(
            IntakeLimits(
                chosen.max_bodies, chosen.max_bodies_bytes, chosen.body_timeout_ms / 1000, chosen.body_min_rate
            )
        )
        self._door = Door(self._service, intake, max_documents=chosen.max_documents, timeout_s=timeout_s)
        application = make_app(self._door, self._health, chosen)
        port = chosen.metrics_port
        self._metrics_port = None if port is None else MetricsPort(self._service, str(self.runtime_args.host), port)
        self._http_options = server_options(chosen.keepalive_s, chosen.root_path)
        self.servers = [self._adapt(server, application) for server in self.servers]
        self.gateways = self.servers

    def _adapt(self, server: Any, application: FastAPI) -> Any:
        if isinstance(server, GRPCServer):
            server._request_handler = GrpcService(self._request_handler, self._door)
            return server
        given = next(each for each in self._server_kwargs if each["runtime_args"]["port"] == server.port)
        http = HttpServer(**(given | {"uvicorn_kwargs": self._http_options}))
        http.application = application
        return http

    async def setup_server(self) -> None:
        """Wait for the stages, join the index, then listen. The wait ends if the flow is being cancelled."""
        for server in self.servers:
            # Jina's own composite does not pass this on; if an executor failed, its servers would wait for ever.
            server.is_cancel = self.is_cancel
        await wait_for_processes(process_addresses(self.streamer), self.is_cancel.is_set)
        await self.streamer._get_endpoints_input_output_models(is_cancel=self.is_cancel)
        if not self.is_cancel.is_set():
            self._check_stages()
            await self._health.start()
            if self._metrics_port is not None:
                self._metrics_port.start()
        await super().setup_server()
        leave_start_uncollected()

    def _check_stages(self) -> None:
        """Log why the stages can't be chained, if they can't; Jina's own line about it is empty with `quiet_error`."""
        try:
            self.streamer._validate_flow_docarray_compatibility()
        except Exception as error:
            _log.error("the gateway can't start: %s", error)
            raise

    async def shutdown(self) -> None:
        """Refuse new work, then stop both servers."""
        self._service.gate.draining = True
        await self._health.stop()
        if self._metrics_port is not None:
            await self._metrics_port.stop()
        await all_completed(_COMPLETION_S)
        await super().shutdown()
