"""The HTTP application over an index in this process: everything of the gateway but the flow."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from executors.gateway.access import make_access
from executors.gateway.door import Door
from executors.gateway.health import Health
from executors.gateway.http.protocol import server_options
from executors.gateway.http.routes import make_app
from executors.gateway.intake import Intake, IntakeLimits
from executors.settings import Settings
from tests.support.flows.local_index import Caller, local_service


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """A gateway that listens, and a way past HTTP to the service behind it."""

    url: str
    call: Caller
    health: Health


@asynccontextmanager
async def local_gateway(shards: int, keepalive_s: int = 75, **settings: Any) -> AsyncIterator[LocalGateway]:
    """Serve on a port of its own, in the event loop of the test."""
    service, stages = await local_service(shards)
    service.readiness.set_ready()
    chosen = Settings(**settings)
    service.access = make_access(chosen)
    intake = Intake(IntakeLimits(chosen.max_bodies, chosen.max_bodies_bytes, 10.0, chosen.body_min_rate))
    door = Door(service, intake, max_documents=10_000, timeout_s=30.0)
    health = Health(service, max_watchers=chosen.max_watchers)
    application = make_app(door, health, chosen)
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            log_level=logging.CRITICAL,
            lifespan="off",
            **server_options(keepalive_s, chosen.root_path),
        )
    )
    server.install_signal_handlers = lambda: None  # type: ignore[method-assign]  # the test's own stay
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # asyncio sets it for sockets of its own only; without it, each answer waits 40 ms for the caller's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        running = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.005)
        try:
            yield LocalGateway(f"http://127.0.0.1:{listener.getsockname()[1]}", Caller(service, stages), health)
        finally:
            await health.stop()
            server.should_exit = True
            await running
