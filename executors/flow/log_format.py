"""How a line of a log looks: with a time in UTC, or as one JSON object, whoever wrote it.

JSON lines have `time`, `level`, `name`, `process`, `message`, and `trace` where there is one. What is not logged but printed
(by this package, by Jina, by a library's warning) becomes such a line as well.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TextIO

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[@-~]")
_MESSAGE: Final = "%(message)s"
_UVICORN: Final = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")


def time_text(seconds: float | None = None) -> str:
    """A time as RFC 3339 has it, in UTC, to the millisecond; now by default."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z embed/rep-0@4711[E]:message`, by the format that it is given, without colours."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return f"{time_text(record.created)} {_ESCAPES.sub('', super().format(record)).strip()}"


class JsonFormatter(logging.Formatter):
    """One JSON object a record; what its format has before the message is the name, such as that of the replica."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        trace = self.formatException(record.exc_info) if record.exc_info else None
        name = (self._fmt or "").removesuffix(_MESSAGE) or record.name
        return json_line(record.getMessage(), record.levelname, name, record.created, record.process, trace)


def json_line(
    message: str,
    level: str = "INFO",
    name: str = "visual-search",
    seconds: float | None = None,
    process: int | None = None,
    trace: str | None = None,
) -> str:
    """A line of a log as JSON, without the line's end."""
    line: dict[str, Any] = {"time": time_text(seconds), "level": level, "name": name}
    line |= {"process": process or os.getpid(), "message": _ESCAPES.sub("", message).strip()}
    return json.dumps(line | ({"trace": trace} if trace else {}), ensure_ascii=True)


class JsonLines(io.TextIOBase):
    """A text stream that writes every line as JSON; one that is JSON already passes as it is, an empty one is left out."""

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._begun = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the stream below."""
        return self._stream.encoding

    def fileno(self) -> int:
        """The file below."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Never: what is for a terminal only is not written."""
        return False

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Write what is complete; the rest waits for the end of its line."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        whole = [self._as_json(line) for line in lines if _ESCAPES.sub("", line).strip()]
        if whole:
            self._stream.write("".join(f"{line}\n" for line in whole))
        return len(text)

    def flush(self) -> None:
        """Write out what is complete."""
        self._stream.flush()

    def _as_json(self, line: str) -> str:
        if line.startswith("{") and line.endswith("}"):
            try:
                json.loads(line)
            except ValueError:
                pass
            else:
                return line
        text = line.rpartition("\r")[2]
        return json_line(text, "WARNING" if text.startswith("warning: ") else self._level)


def write_json_lines() -> None:
    """From now on, whatever this process (and those that it forks) writes to stdout and stderr is JSON, a line each."""
    if isinstance(sys.stdout, JsonLines):
        return
    sys.stdout, sys.stderr = JsonLines(sys.stdout, "INFO"), JsonLines(sys.stderr, "ERROR")
    sys.excepthook = _log_exception
    threading.excepthook = lambda args: _log_exception(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _log_exception(args.exc_type, args.exc_value, args.exc_traceback)


def leave_out_write_failures() -> None:
    """Have a log that can't be written (its reader is gone, its disk is full) cost a line, and not a traceback for each."""
    tell = logging.Handler.handleError

    def tell_of_defects(self: logging.Handler, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            tell(self, record)

    logging.Handler.handleError = tell_of_defects  # type: ignore[method-assign]


def format_library_logs(*, as_json: bool) -> None:
    """Have what libraries log (asyncio, gRPC, uvicorn, warnings) look like our own lines."""
    formatter = JsonFormatter() if as_json else TextFormatter("%(name)s@%(process)d[%(levelname).1s]:%(message)s")
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(formatter)
    logging.lastResort = handler
    from uvicorn.config import LOGGING_CONFIG

    # uvicorn would give them handlers of its own, which write to where stderr was once.
    LOGGING_CONFIG["handlers"].clear()
    LOGGING_CONFIG["formatters"].clear()
    LOGGING_CONFIG["loggers"] = {name: {"level": "INFO", "propagate": True} for name in _UVICORN}


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(json_line(f"{kind.__name__}: {error}", "ERROR", trace=text), file=sys.stderr)
