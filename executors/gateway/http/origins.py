"""Checks of the headers Host and Origin: the host names of this server, and the origins whose pages may call it.

Without them, any page that the user opens could reach a server on the user's machine: by a host name that resolves to
127.0.0.1 (DNS rebinding, which the Host header shows), or by a request to another origin (which Origin shows).
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from executors.errors import VisualSearchError


class CallerCheck:
    """Checks Host and Origin against what the settings allow.

    Args:
        host: the address that the gateway listens on.
        allowed_hosts: further host names; `*` for any.
        allowed_origins: origins (`https://shop.example`) of pages that may call, as browsers write them; `*` for any.
    """

    def __init__(self, host: str, allowed_hosts: tuple[str, ...], allowed_origins: tuple[str, ...]) -> None:
        self._names = {
            "localhost",
            host.lower(),
            socket.gethostname().lower(),
            *(name.lower() for name in allowed_hosts),
        }
        self._origins = set(allowed_origins)

    def check(self, host: str | None, origin: str | None) -> None:
        """Refuse a host name or origin that is not allowed.

        Raises:
            VisualSearchError: `forbidden_host` or `forbidden_origin`.
        """
        if host and not self._is_own(_name_of(host)):
            raise VisualSearchError("forbidden_host", f"this server does not answer to the name {_name_of(host)!r}")
        if not origin or "*" in self._origins or origin.lower() in self._origins:
            return
        same = host is not None and origin.lower() in (f"http://{host.lower()}", f"https://{host.lower()}")
        if not same:
            raise VisualSearchError("forbidden_origin", f"pages of {origin[:200]!r} may not call this server")

    def _is_own(self, name: str) -> bool:
        if name in self._names or "*" in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host.lower()
