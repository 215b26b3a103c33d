"""Serves `/metrics` on a port of its own, which asks for no key: a firewall decides who reaches it."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from executors.errors import VisualSearchError
from executors.gateway.http.responses import error_response
from executors.gateway.metrics.scrape import text_of
from executors.gateway.operations.service import SearchService
from executors.hosts import listening_fault

_CONNECTIONS: Final = 16


class MetricsPort:
    """A second HTTP server of the gateway, with nothing but `/metrics`.

    Args:
        service: what is measured.
        host: the address to listen on.
        port: the port.
    """

    def __init__(self, service: SearchService, host: str, port: int) -> None:
        app = FastAPI(openapi_url=None)

        @app.get("/metrics")
        async def answer(_: Request) -> Response:
            try:
                text = await text_of(service)
            except VisualSearchError as error:
                return error_response(error)
            return Response(text, media_type=CONTENT_TYPE_LATEST)

        config = uvicorn.Config(
            app, host=host, port=port, log_level=logging.CRITICAL, lifespan="off", limit_concurrency=_CONNECTIONS
        )
        self._server = uvicorn.Server(config)
        # The gateway handles signals.
        self._server.install_signal_handlers = lambda: None  # type: ignore[method-assign]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen from now on.

        Raises:
            VisualSearchError: `invalid_setting` if the port is taken; uvicorn would end the process without a word.
        """
        if (fault := listening_fault(self._server.config.host, self._server.config.port)) is not None:
            raise VisualSearchError("invalid_setting", f"VS_METRICS_PORT: {fault}", variables=["VS_METRICS_PORT"])
        self._task = asyncio.create_task(self._server.serve())

    async def stop(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
