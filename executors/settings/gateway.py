"""The settings of the gateway: its addresses, who may call it, and its limits."""

from __future__ import annotations

import ipaddress
import re
import textwrap
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from executors.hosts import is_host
from executors.settings.values import Names

_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_LONGEST_PATH: Final = 200


class GatewaySettings(BaseModel):
    """Addresses, callers and limits."""

    host: str = Field("127.0.0.1", description="address that the gateway listens on")
    http_port: int = Field(8080, ge=1, le=65535, description="port for HTTP")
    grpc_port: int = Field(54321, ge=1, le=65535, description="port for gRPC")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="port of its own for /metrics, which asks for no key there; none by default"
    )
    allowed_hosts: Names = Field(
        (),
        description="further names that a Host header may carry, comma-separated (this machine's own names are always "
        "accepted); `*` allows any",
    )
    allowed_origins: Names = Field(
        (),
        description="origins of other web pages that may call the API, comma-separated (`https://shop.example`); `*` allows "
        "any",
    )
    trusted_proxies: Names = Field(
        (),
        description="addresses and networks of proxies, comma-separated, whose X-Forwarded-For tells the caller's address "
        "(`10.0.0.0/8`)",
    )
    root_path: str = Field(
        "",
        description="path below which a proxy shows the service, such as `/pictures`; addresses in answers begin with it",
    )
    timeout_ms: int = Field(60_000, ge=100, description="timeout of a request from end to end, in milliseconds")
    max_concurrency: int = Field(256, ge=1, description="maximum number of requests in flight; further ones get 429")
    max_documents: int = Field(100_000, ge=1, description="maximum number of documents in one request")
    max_request_bytes: int = Field(
        256_000_000, ge=1_000, description="maximum size of one HTTP body or gRPC message, in bytes"
    )
    max_bodies: int = Field(
        256, ge=1, description="maximum number of bodies that are being received; the slowest makes room for a new one"
    )
    max_bodies_bytes: int = Field(
        512_000_000,
        ge=1_000,
        description="maximum memory for the bodies of all requests, in bytes; further bodies wait (a single one may be "
        "larger)",
    )
    body_timeout_ms: int = Field(
        60_000, ge=100, description="timeout for receiving a body, from its first byte, in milliseconds"
    )
    body_min_rate: int = Field(
        1_000,
        ge=1,
        description="minimum average rate at which a body must arrive, in bytes per second, after the first 10 s",
    )
    max_connections: int = Field(
        1_000,
        ge=1,
        description="maximum number of open HTTP connections (fewer if `ulimit -n` is small); idle ones are closed to make "
        "room",
    )
    max_watchers: int = Field(64, ge=1, description="maximum number of callers of /watch; further ones get 429")
    keepalive_s: int = Field(
        75,
        ge=1,
        le=86_400,
        description="seconds that an idle HTTP connection stays open; should be longer than the timeout of a proxy in front",
    )

    @property
    def stage_timeout_ms(self) -> int:
        """The timeout of one call to a stage, short enough that another replica can still answer within the whole timeout."""
        return max(100, self.timeout_ms // 3)

    @field_validator("host", mode="after")
    @classmethod
    def _host(cls, value: str) -> str:
        if not is_host(value):
            raise ValueError(
                f"{textwrap.shorten(value, 80)!r} is neither an IP address (without brackets) nor a host name"
            )
        return value

    @field_validator("allowed_hosts", mode="after")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_host_name(each) for each in value)

    @field_validator("allowed_origins", mode="after")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_origin(each) for each in value)

    @field_validator("root_path", mode="after")
    @classmethod
    def _path(cls, value: str) -> str:
        if len(value) > _LONGEST_PATH or not _PATH.fullmatch(value):
            raise ValueError(
                f"{textwrap.shorten(value, 80)!r} is not a path such as /pictures, without a slash at its end"
            )
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            try:
                ipaddress.ip_network(each, strict=False)
            except ValueError:
                raise ValueError(f"{each!r} is neither an IP address nor a network such as 10.0.0.0/8") from None
        return value

    @field_validator("grpc_port", mode="after")
    @classmethod
    def _own_port(cls, value: int, info: ValidationInfo) -> int:
        if value == info.data.get("http_port"):
            raise ValueError("the same port as VS_HTTP_PORT")
        return value

    @field_validator("metrics_port", mode="after")
    @classmethod
    def _third_port(cls, value: int | None, info: ValidationInfo) -> int | None:
        for other in ("http_port", "grpc_port"):
            if value is not None and value == info.data.get(other):
                raise ValueError(f"the same port as VS_{other.upper()}")
        return value


def _origin(given: str) -> str:
    """Return an origin as browsers write it: in lower case, without a path and without the default port of its scheme.

    Raises:
        ValueError: it is not an origin, so no browser would ever send it.
    """
    if given == "*":
        return given
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or "*" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or more:
        raise ValueError(f"{given!r} is not an origin; write https://shop.example, with a port if it has one, or *")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in (None, {"http": 80, "https": 443}[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def _host_name(given: str) -> str:
    """Return a host name as the Host header has it before the port, in lower case.

    Raises:
        ValueError: it is not a host name, so no request would ever match it.
    """
    name = given[1:-1] if given.startswith("[") and given.endswith("]") else given
    if given != "*" and not is_host(name):
        raise ValueError(f"{given!r} is not a host name; write shop.example, without a scheme or a port, or *")
    return name.lower()
