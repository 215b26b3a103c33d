"""Reserved ports, which stay ours while no server listens on them."""

from __future__ import annotations

import socket

_HOST = "127.0.0.1"


class ReservedPort:
    """A free port of this machine, kept from others until a server of ours listens on it, and between its restarts.

    The socket is bound, but never listens: other programs that look for a free port don't get it, and connections are
    refused. With SO_REUSEADDR set after binding, a server that sets it too (Triton's two do) may bind and listen beside
    it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.bind((_HOST, 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number: int = self._socket.getsockname()[1]

    @property
    def url(self) -> str:
        """`host:port`."""
        return f"{_HOST}:{self.number}"

    def release(self) -> None:
        """Release the port. Safe to call twice."""
        self._socket.close()
