"""Requests to an OpenSearch cluster: retried within a timeout, and answered or failed with a stable code."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from aiohttp import ClientSSLError
from opensearchpy import AsyncOpenSearch
from opensearchpy.exceptions import ConnectionError as NoConnection
from opensearchpy.exceptions import ConnectionTimeout, SSLError, TransportError
from opensearchpy.serializer import JSONSerializer

from executors.errors import VisualSearchError

# The client library logs every failed try with a trace; the caller gets the final error instead.
logging.getLogger("opensearch").setLevel(logging.CRITICAL)

# The server is overloaded, or a part of it is temporarily unavailable.
_TRY_AGAIN: Final = frozenset({429, 502, 503, 504})
TOO_MANY_CLAUSES: Final = frozenset({"too_many_clauses", "too_many_nested_clauses"})
_PASSING: Final = frozenset(
    {
        "no_shard_available_action_exception",
        "unavailable_shards_exception",
        "node_not_connected_exception",
        "node_disconnected_exception",
        "illegal_index_shard_state_exception",
        "opensearch_rejected_execution_exception",
        "rejected_execution_exception",
    }
)
_BLOCK: Final = "cluster_block_exception"
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 2.0
_JSON: Final = {"content-type": "application/json"}
_LINES: Final = {"content-type": "application/x-ndjson"}


class IndexGoneError(Exception):
    """The index or alias of a request does not exist (any more)."""


class ReadOnlyError(VisualSearchError):
    """The index refuses writes, and retrying does not help: `storage_unavailable`.

    Attributes:
        by_request: the block was requested, as a rebuild does for a moment, rather than set because a disk is full.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            "storage_unavailable",
            "OpenSearch has made the index read-only (it does so when its disks are nearly full); nothing was acknowledged",
            reason=reason,
        )
        self.by_request = "index write (api)" in reason


class RefusedError(VisualSearchError):
    """The server refuses the request itself: `storage_denied`, with the server's words.

    Attributes:
        answered: its HTTP status.
        kind: its name for the error, such as `mapper_parsing_exception`; that of the cause, if it gives one.
    """

    def __init__(self, answered: int, kind: str, reason: str) -> None:
        super().__init__("storage_denied", f"OpenSearch refuses the request ({kind}): {reason}", reason=kind)
        self.answered, self.kind = answered, kind


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """How the cluster is reached; the secrets do not appear in its text form.

    Attributes:
        urls: `http(s)://host:port` of each node that may be asked.
        user, password: of basic authentication.
        api_key: sent as `Authorization: ApiKey …`.
        ca: a file with the certificates of authorities; None: those of the system.
        verify: whether the server's certificate has to be valid.
        timeout_s: timeout of one request, retries included.
    """

    urls: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)
    ca: Path | None = None
    verify: bool = True
    timeout_s: float = 10.0


class Connection:
    """The client of a process; it is made again when it is used on another event loop."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._client: AsyncOpenSearch | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rng = random.Random()

    @property
    def timeout_s(self) -> float:
        """The timeout of one request, retries included."""
        return self._options.timeout_s

    async def close(self) -> None:
        """Close the connections. Safe to call twice."""
        client, self._client = self._client, None
        # Connections of a stopped event loop can't be closed any more, and need not be: the process ends.
        if client is not None and self._loop is asyncio.get_running_loop():
            await client.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: dict[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send one request with a JSON body; returns the answer as Python values.

        Raises:
            IndexGoneError: the index does not exist.
            RefusedError: the server refuses it for another reason, and retrying does not help.
            VisualSearchError: `storage_unavailable`, `storage_denied`.
        """
        data = None if body is None else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
        return await self._send(method, path, data, params, _JSON, timeout_s)

    async def send_lines(
        self, path: str, lines: Sequence[bytes], *, params: dict[str, str] | None = None, timeout_s: float | None = None
    ) -> Any:
        """Send one request whose body is JSON lines (`_bulk`, `_msearch`); see `call`."""
        return await self._send("POST", path, b"\n".join(lines) + b"\n", params, _LINES, timeout_s)

    async def call_whole(
        self, send: Callable[[float], Awaitable[Any]], parts_of: Callable[[Any], Iterable[dict[str, Any]]]
    ) -> Any:
        """Send a request of several parts, and retry within the timeout while one of the parts is refused for a
        temporary reason.

        Args:
            send: is given how many seconds are left.
            parts_of: the parts of an answer, with `error` and perhaps `status` for those that failed.
        """
        deadline = time.monotonic() + self.timeout_s
        attempt = 0
        while True:
            answer = await send(max(0.1, deadline - time.monotonic()))
            pause = self._pause_s(attempt)
            if time.monotonic() + pause >= deadline or not any(is_turned_away(part) for part in parts_of(answer)):
                return answer
            await asyncio.sleep(pause)
            attempt += 1

    async def _send(
        self,
        method: str,
        path: str,
        data: bytes | None,
        params: dict[str, str] | None,
        headers: dict[str, str],
        timeout_s: float | None,
    ) -> Any:
        deadline = time.monotonic() + (timeout_s or self._options.timeout_s)
        attempt = 0
        while True:
            left = deadline - time.monotonic()
            try:
                return await self._open_client().transport.perform_request(
                    method,
                    path,
                    params={**(params or {}), "request_timeout": max(0.1, left)},
                    body=data,
                    headers=headers,
                )
            except (NoConnection, TransportError) as error:
                if not _may_pass(error):
                    raise _final(error) from None
                pause = self._pause_s(attempt)
                if time.monotonic() + pause >= deadline:
                    raise _gave_up(error) from None
                await asyncio.sleep(pause)
                attempt += 1

    def _pause_s(self, attempt: int) -> float:
        """The pause before a retry, with jitter, so that clients that were refused together do not come back together."""
        pause: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt) * self._rng.uniform(0.5, 1.0)
        return pause

    def _open_client(self) -> AsyncOpenSearch:
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            self._client, self._loop = self._make_client(), loop
        return self._client

    def _make_client(self) -> AsyncOpenSearch:
        chosen = self._options
        secure: dict[str, Any] = {}
        if any(url.startswith("https:") for url in chosen.urls):
            secure = {"verify_certs": chosen.verify, "ssl_show_warn": False, "ssl_assert_hostname": chosen.verify}
            if chosen.ca is not None:
                secure["ca_certs"] = str(chosen.ca)
        return AsyncOpenSearch(
            list(chosen.urls),
            http_auth=(chosen.user, chosen.password or "") if chosen.user else None,
            headers={"authorization": f"ApiKey {chosen.api_key}"} if chosen.api_key else None,
            serializer=_Json(),
            # Retries are made here, and nowhere else.
            max_retries=0,
            retry_on_timeout=False,
            retry_on_status=(),
            http_compress=False,
            maxsize=32,
            **secure,
        )


class _Json(JSONSerializer):
    def loads(self, s: str) -> Any:
        return orjson.loads(s)


def _may_pass(error: TransportError | NoConnection) -> bool:
    if _is_distrust(error):
        return False
    if isinstance(error, NoConnection):
        return True
    status, kind, _ = _said(error)
    return _is_passing(status, kind)


def _is_passing(status: int, kind: str) -> bool:
    # A block with status 503 (no cluster manager, a state that is not recovered yet) is temporary; a read-only index is
    # not.
    return status == 503 if kind == _BLOCK else status in _TRY_AGAIN


def cause_of(error: Mapping[str, Any]) -> str:
    """The kind of an error as the server names it, or the kind of its cause."""
    causes = error.get("root_cause") or [error]
    return str(causes[0].get("type") or error.get("type") or "")


def too_many_clauses() -> VisualSearchError:
    """The error for a filter that is longer than OpenSearch evaluates."""
    return VisualSearchError(
        "invalid_filter", "the filter has more conditions than OpenSearch evaluates (1,024 clauses)"
    )


def is_turned_away(part: Mapping[str, Any]) -> bool:
    """Whether a part of a request failed for a temporary reason: overload, or a shard that is about to come back."""
    error = part.get("error")
    if error is None:
        return False
    kind = str(error.get("type"))
    return kind in _PASSING or _is_passing(int(part.get("status") or 0), kind)


def _is_distrust(error: Exception) -> bool:
    """Whether the server's certificate is the problem; the asynchronous client hides that in the original exception."""
    return isinstance(error, SSLError) or any(isinstance(each, ClientSSLError) for each in error.args)


def _final(error: TransportError | NoConnection) -> Exception:
    """The error for a failure that retrying does not fix."""
    if _is_distrust(error):
        return VisualSearchError(
            "storage_denied",
            "OpenSearch's certificate is not trusted: set VS_OPENSEARCH_CA, or VS_OPENSEARCH_VERIFY=off",
            reason="certificate",
        )
    status, kind, reason = _said(error)
    if kind == "index_not_found_exception" or (status == 404 and "alias" in reason):
        return IndexGoneError(reason)
    if status == 401 or (status == 403 and kind != _BLOCK):
        return VisualSearchError(
            "storage_denied",
            f"OpenSearch refuses this client (HTTP {status}): check its user, key and rights",
            status=status,
        )
    if kind == _BLOCK:
        return ReadOnlyError(reason)
    if kind in TOO_MANY_CLAUSES:
        return too_many_clauses()
    return RefusedError(status, kind, reason)


def _gave_up(error: TransportError | NoConnection) -> VisualSearchError:
    if isinstance(error, ConnectionTimeout):
        return VisualSearchError("storage_unavailable", "OpenSearch did not answer in time", reason="timeout")
    if isinstance(error, NoConnection):
        return VisualSearchError("storage_unavailable", "OpenSearch can't be reached", reason="connection")
    status, kind, _ = _said(error)
    return VisualSearchError(
        "storage_unavailable", f"OpenSearch turned the request away (HTTP {status})", status=status, reason=kind
    )


def _said(error: TransportError | NoConnection) -> tuple[int, str, str]:
    """Status, kind and reason as the server gave them."""
    status = error.status_code if isinstance(error.status_code, int) else 0
    info = error.info if isinstance(error.info, dict) else {}
    told = info.get("error")
    if isinstance(told, dict):
        return status, cause_of(told), str(told.get("reason", ""))
    return status, "", str(told or "")
