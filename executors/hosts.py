"""The addresses and ports on which a server listens: their forms, who can reach them, and whether they are free."""

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
    """Return whether a text is an IP address or could be a host name (RFC 1123, and underscores as well)."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # Programs take a name whose last part is a number for an address.
        return len(text) <= _LONGEST_HOST and bool(_HOST.fullmatch(text)) and not text.rpartition(".")[2].isdigit()
    return True


def reachable_host(host: str) -> str:
    """Return the host, in the form for a URL, by which this machine reaches a server that listens on `host`."""
    if is_everywhere(host):
        return "[::1]" if ":" in host else "127.0.0.1"
    return url_host(host)


def is_everywhere(host: str) -> bool:
    """Return whether a server with this host listens on every address of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def url_host(host: str) -> str:
    """Return an address in the form for a URL, with IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine can reach a server that listens on this host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listening_fault(host: str, port: int) -> str | None:
    """Return the reason why no server can listen on that address and port; None if one can.

    It binds the port for a moment, without SO_REUSEPORT. gRPC's servers set that option, and a second server on the same
    port would get half of the connections.
    """
    try:
        _listen_once(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return f"port {port} of {host} is taken by {_holder(port)}"
        if error.errno == errno.EACCES:
            return f"this user may not use port {port}: those below 1024 belong to the system"
        return f"nothing can listen at {url_host(host)}:{port}: {error.strerror or error}"
    return None


def address_fault(host: str) -> str | None:
    """Return the reason why no server can listen on that address, on any port; None if one can."""
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
            # Set it like the servers: on one IPv6 address they take no IPv4, on all addresses they do.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not is_everywhere(host))
        probe.bind(address)
        probe.listen(1)


def _holder(port: int) -> str:
    """Describe the process that listens on a port, as far as this user may see it (Linux)."""
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
