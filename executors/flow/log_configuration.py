"""The configuration of all logs. `executors.bootstrap` applies it in the main process, and again in each process of a flow.

All lines have one form (`executors.flow.log_format`):

- one handler on the logger `executors` writes the lines of this package, from level INFO, to stdout;
- the handlers that Jina makes from `jina_logging.*.yml` write the lines of Jina to stdout;
- Python's handler of last resort writes the lines of other libraries, from level WARNING, to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Final, TextIO

from executors.flow.log_format import JsonFormatter, TextFormatter, set_process_name
from executors.flow.log_repeats import limit_repeats

_FOLDER: Final = Path(__file__).parent
_PREFIX: Final = "%(process_name)s@%(process)d[%(levelname).1s]%(request)s:"
_UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


class StdoutHandler(logging.StreamHandler[TextIO]):
    """Writes to `sys.stdout` as it is when a line is logged, because it may be replaced after the configuration."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """The current stdout."""
        return sys.stdout


def configure_logs(log_format: str, process_name: str = "flow") -> None:
    """Make all loggers of this process, and of those that it forks, write in the chosen form. It may be called again.

    Args:
        log_format: `text` or `json`, the value of `VS_LOG_FORMAT`.
        process_name: stage and replica (`embed/rep-0`, `index/shard-0/rep-0`, `gateway/rep-0`), or `flow` for the main process.
    """
    as_json = log_format == "json"
    set_process_name(process_name)
    _configure_own_loggers(as_json)
    _configure_jina(log_format)
    _configure_libraries(as_json)
    limit_repeats()
    leave_out_write_failures()


def _configure_own_loggers(as_json: bool) -> None:
    logger = logging.getLogger("executors")
    handler = next((each for each in logger.handlers if isinstance(each, StdoutHandler)), None)
    if handler is None:
        handler = StdoutHandler()
        logger.addHandler(handler)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(f"{_PREFIX}%(message)s"))
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)


def _configure_jina(log_format: str) -> None:
    """Set the variable that Jina's loggers read in each process, unless the operator set one for text."""
    path = str(_FOLDER / f"jina_logging.{log_format}.yml")
    chosen = os.environ.get("JINA_LOG_CONFIG", "")
    if log_format == "json" or not chosen or Path(chosen).parent == _FOLDER:
        os.environ["JINA_LOG_CONFIG"] = path


def _configure_libraries(as_json: bool) -> None:
    """Give the lines of asyncio, gRPC, uvicorn and Python's warnings the form of our own."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter(f"{_PREFIX}%(name)s: %(message)s"))
    logging.lastResort = handler
    from uvicorn.config import LOGGING_CONFIG

    # uvicorn would add handlers of its own, which write to the stderr of the time when they were made.
    LOGGING_CONFIG["handlers"].clear()
    LOGGING_CONFIG["formatters"].clear()
    LOGGING_CONFIG["loggers"] = {name: {"level": "INFO", "propagate": True} for name in _UVICORN}


_handle_error: Final = logging.Handler.handleError


def leave_out_write_failures() -> None:
    """Drop a line that can't be written (its reader is gone, or the disk is full) without a traceback."""

    def report_defects(self: logging.Handler, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            _handle_error(self, record)

    logging.Handler.handleError = report_defects  # type: ignore[method-assign]
