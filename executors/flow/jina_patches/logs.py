"""Changes to Jina's output: its log lines have this project's form, and log lines replace its panels at the start."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import jina.logging.formatter as formatter
import jina.orchestrate.flow.base as flow_base
from grpc.aio import AioRpcError
from jina import Flow

from executors.flow.log_format import JsonFormatter, TextFormatter
from executors.flow.readiness import announce


def format_jina_logs() -> None:
    """Replace Jina's formatters, which write no time, cut lines at 512 characters, and lose arguments and traces in JSON."""
    formatter.PlainFormatter = TextFormatter
    formatter.JsonFormatter = JsonFormatter


def leave_out_late_failures() -> None:
    """Keep asyncio from logging tracebacks of calls that outlive their request's deadline; their failure was reported already."""
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (AioRpcError, asyncio.CancelledError))


def announce_truly() -> None:
    """Log the addresses of the flow and whether it is ready, instead of Jina's panel, which names wrong addresses."""
    wait = Flow._wait_until_all_ready

    def wait_and_announce(self: Flow) -> None:
        wait(self)
        announce(self)

    Flow._wait_until_all_ready = wait_and_announce
    Flow._get_summary_table = lambda _self, _panels: None
    flow_base.print = lambda *_args, **_kwargs: None
    flow_base.Progress = _NoProgress


class _NoProgress:
    """Replaces Jina's progress bar of stages that are starting; it shows nothing."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.add_task = lambda *_args, **_kwargs: 0
        self.update = self.start_task = lambda *_args, **_kwargs: None

    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None
