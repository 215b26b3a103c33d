"""The form of a log line: text or one JSON object, with the time in UTC, the process, and the id of the request.

JSON lines have `time`, `level`, `name` (stage and replica), `process` and `message`. Lines of work on a request also have
`request_id`, lines of a Python logger have `logger`, and those of a defect have `trace`. Output that is printed instead of
logged (by this package, by Jina, by a library's warning) becomes such a line as well.
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

from executors.request_id import current_request_id

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[@-~]")
_MESSAGE: Final = "%(message)s"
_process_name = "flow"


def set_process_name(name: str) -> None:
    """Set the name of this process in its lines: stage and replica, such as `index/shard-0/rep-0`."""
    global _process_name
    _process_name = name


def time_text(seconds: float | None = None) -> str:
    """Return a time in the form of RFC 3339, in UTC, with milliseconds; by default the current time."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z embed/rep-0@4711[E][id of the request]:message`, without colours.

    In addition to the attributes of a record, the format may use `%(process_name)s` and `%(request)s` (the id in brackets,
    or nothing).
    """

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, in the thread or task that logged it."""
        record.process_name = _process_name
        request_id = current_request_id()
        record.request = f"[{request_id}]" if request_id else ""
        return f"{time_text(record.created)} {_ESCAPES.sub('', super().format(record)).strip()}"


class JsonFormatter(logging.Formatter):
    """Writes each record as one JSON object. Jina's records have the name of the process before the message."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record, in the thread or task that logged it."""
        trace = self.formatException(record.exc_info) if record.exc_info else None
        name = (self._fmt or "").removesuffix(_MESSAGE)
        logger = None if name else record.name
        return json_line(
            record.getMessage(), record.levelname, name or None, record.created, logger=logger, trace=trace
        )


def json_line(
    message: str,
    level: str = "INFO",
    name: str | None = None,
    seconds: float | None = None,
    *,
    logger: str | None = None,
    trace: str | None = None,
) -> str:
    """Return a log line as JSON, without the newline.

    Args:
        name: stage and replica; by default those of this process.
        seconds: the time, in seconds since the epoch; by default the current time.
    """
    line: dict[str, Any] = {"time": time_text(seconds), "level": level, "name": name or _process_name}
    line |= {"process": os.getpid(), "message": _ESCAPES.sub("", message).strip()}
    further = {"request_id": current_request_id(), "logger": logger, "trace": trace}
    return json.dumps(line | {key: value for key, value in further.items() if value}, ensure_ascii=True)


class JsonLines(io.TextIOBase):
    """A text stream that writes every line as JSON. A line that is JSON already is not changed; an empty one is dropped."""

    def __init__(self, stream: TextIO, level: str) -> None:
        self._stream = stream
        self._level = level
        self._begun = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the underlying stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """Return the descriptor of the underlying stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Return False, so that programs don't write what is for terminals only."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Write the complete lines; the rest waits for the end of its line."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        whole = [self._as_json(line) for line in lines if _ESCAPES.sub("", line).strip()]
        if whole:
            self._stream.write("".join(f"{line}\n" for line in whole))
        return len(text)

    def flush(self) -> None:
        """Flush the underlying stream; an incomplete line still waits."""
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
    """Turn every line that this process, and those that it forks, writes to stdout and stderr into JSON."""
    if isinstance(sys.stdout, JsonLines):
        return
    sys.stdout, sys.stderr = JsonLines(sys.stdout, "INFO"), JsonLines(sys.stderr, "ERROR")
    sys.excepthook = _log_exception
    threading.excepthook = lambda args: _log_exception(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _log_exception(args.exc_type, args.exc_value, args.exc_traceback)


def _log_exception(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    print(json_line(f"{kind.__name__}: {error}", "ERROR", trace=text), file=sys.stderr)
