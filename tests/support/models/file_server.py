"""An HTTP server with files that misbehaves as it is told, and keeps account of what it was asked for and what it sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass
class Asked:
    """One request, and the bytes of the file that were sent in answer."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class FileServer:
    """The files and the behaviour of the server; both may be changed while it runs.

    Attributes:
        files: bodies by path, such as `/model.onnx`.
        etag: the entity tag of every file; none when empty.
        modified: when the files were changed, for Last-Modified; no such header when None.
        ranges, if_range: whether it heeds Range and If-Range.
        on_range: how it answers to a Range in place of sending it: with status 416, with the part of a file of another
            tag, or with another part.
        cut_after: bytes of an answer after which the connection is closed, once for each item.
        statuses: statuses to answer with in place of a file, once for each item.
        redirects: paths, or whole addresses, by path.
        lengths: whether it says how long an answer is.
        claimed: the length that it says in place of the right one.
        encoding: what it says of how the files are packed.
        chunk: bytes that are sent at once, with `pause_s` in between.
        delay_s: before it answers.
        asked: the requests so far.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str = '"1"'
    modified: float | None = None
    ranges: bool = True
    if_range: bool = True
    on_range: Literal["part", "416", "other tag", "other part"] = "part"
    cut_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    lengths: bool = True
    claimed: int | None = None
    encoding: str = ""
    chunk: int = 1 << 16
    pause_s: float = 0.0
    delay_s: float = 0.0
    asked: list[Asked] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Bytes of files that were sent, in all."""
        return sum(each.sent for each in self.asked)


@contextmanager
def file_server() -> Iterator[FileServer]:
    """A server on a port of its own, until the context ends."""
    state = FileServer()
    stopping = threading.Event()
    server = _Server(("127.0.0.1", 0), _handler(state, stopping))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the game."""


def _handler(state: FileServer, stopping: threading.Event) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = Asked(self.path, dict(self.headers))
            state.asked.append(asked)
            self.close_connection = True
            stopping.wait(state.delay_s)
            if self.path in state.redirects:
                self._say(asked, 302, {"Location": state.redirects[self.path], "Content-Length": "0"})
            elif state.statuses:
                self._say(asked, state.statuses.pop(0), {"Content-Length": "0"})
            elif (body := state.files.get(self.path)) is None:
                self._say(asked, 404, {"Content-Length": "0"})
            else:
                self._send_file(asked, body)

        def _send_file(self, asked: Asked, body: bytes) -> None:
            headers = {"ETag": state.etag} if state.etag else {}
            if state.modified is not None:
                headers["Last-Modified"] = formatdate(state.modified, usegmt=True)
            if state.encoding:
                headers["Content-Encoding"] = state.encoding
            start = self._start(headers)
            status = 200
            if start is not None and (start >= len(body) or state.on_range == "416"):
                self._say(asked, 416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            if start is not None:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body = body[start:]
                if state.on_range == "other tag":
                    headers["ETag"] = '"another"'
                if state.on_range == "other part":
                    headers["Content-Range"] = f"bytes {start + 7}-{start + len(body) - 1}/{start + len(body)}"
            if state.lengths:
                headers["Content-Length"] = str(state.claimed or len(body))
            self._say(asked, status, headers)
            if state.cut_after:
                body = body[: state.cut_after.pop(0)]
            for offset in range(0, len(body), state.chunk):
                if stopping.is_set():
                    return
                part = body[offset : offset + state.chunk]
                self.wfile.write(part)
                self.wfile.flush()
                asked.sent += len(part)
                stopping.wait(state.pause_s)

        def _start(self, headers: dict[str, str]) -> int | None:
            """The first byte that is asked for, if the file is still the one that is meant."""
            wanted = self.headers.get("Range", "")
            validator = self.headers.get("If-Range")
            if not state.ranges or not wanted:
                return None
            if state.if_range and validator not in (None, headers.get("ETag"), headers.get("Last-Modified")):
                return None
            return int(wanted.removeprefix("bytes=").removesuffix("-"))

        def _say(self, asked: Asked, status: int, headers: dict[str, str]) -> None:
            asked.status = status
            self.send_response(status)
            for name, value in {**headers, "Connection": "close"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    return Handler
