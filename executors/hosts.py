"""Addresses and ports that a server listens on: how they are written, who reaches them, and whether they are free."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"
_LONGEST_HOST: Final = 253
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*")


def is_host(text: str) -> bool:
    """Whether it is an IP address, or could be a machine's name (RFC 1123; an underscore is let pass)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # A name whose last part is a number would be taken for an address.
        return len(text) <= _LONGEST_HOST and bool(_HOST.fullmatch(text)) and not text.rpartition(".")[2].isdigit()
    return True


def reachable_host(host: str) -> str:
    """The name under which a server that listens on `host` is reached from this machine, as it stands in a URL."""
    if is_everywhere(host):
        return "[::1]" if ":" in host else "127.0.0.1"
    return url_host(host)


def is_everywhere(host: str) -> bool:
    """Whether a server that listens there does at every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def url_host(host: str) -> str:
    """An address as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server that listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening_fault(host: str, port: int) -> str | None:
    """What keeps a server from listening at that address and port; None if nothing does.

    It binds for a moment, without SO_REUSEPORT: gRPC's servers set that, and a second one would get half of the connections.
    """
    try:
        _listen_once(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} of {host} is taken by {_holder(port)}"
        if error.errno == errno.EACCES:
            return f"port {port} may not be used by this user: those below 1024 are the system's"
        return f"nothing can listen at {url_host(host)}:{port}: {error.strerror or error}"
    return None


def address_fault(host: str) -> str | None:
    """What keeps a server from listening at that address, whatever the port is; None if nothing does."""
    try:
        _listen_once(host, 0)
    except OSError as error:
        return f"nothing can listen at {host}: {error.strerror or error}"
    return None


def _listen_once(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As the servers do it: at one IPv6 address they take no IPv4, at all addresses they do.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_everywhere(host))
        probe.bind(address)
        probe.listen(1)


def _holder(port: int) -> str:
    """Which process listens on a port, as far as this user may see it (Linux)."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
    return f"another process (`ss -ltnp 'sport = :{port}'` shows which)"
