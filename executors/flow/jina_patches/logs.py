"""What Jina writes: its log in our form, and in place of its picture of the flow what is true of it."""

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
    """Jina's own formatters give no time, cut a line at 512 letters, and leave arguments and traces out of JSON."""
    formatter.PlainFormatter = TextFormatter
    formatter.JsonFormatter = JsonFormatter


def leave_out_late_failures() -> None:
    """A request that is over its deadline leaves calls behind whose failure was told already: asyncio would add a traceback."""
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, (AioRpcError, asyncio.CancelledError))


def announce_truly() -> None:
    """Say where the flow listens and whether it is ready; Jina's panel names addresses where nothing listens."""
    wait = Flow._wait_until_all_ready

    def wait_and_announce(self: Flow) -> None:
        wait(self)
        announce(self)

    Flow._wait_until_all_ready = wait_and_announce
    Flow._get_summary_table = lambda _self, _panels: None
    flow_base.print = lambda *_args, **_kwargs: None
    flow_base.Progress = _NoProgress


class _NoProgress:
    """In place of a bar that says which stages are awaited."""

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        self.add_task = lambda *_args, **_kwargs: 0
        self.update = self.start_task = lambda *_args, **_kwargs: None

    def __enter__(self) -> _NoProgress:
        return self

    def __exit__(self, *_: object) -> None:
        return None
