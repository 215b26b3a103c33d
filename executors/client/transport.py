"""HTTP requests with bounded retries, back-off and typed errors."""

from __future__ import annotations

import asyncio
import io
import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from yarl import URL

from executors.client.requests import Body
from executors.errors import VisualSearchError, error_from_json
from executors.request_id import HEADER, current_request_id, request_id_from

_RETRIED_STATUSES: Final = frozenset({429, 502, 503})
_MAX_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a failed request is sent again, and after which pauses.

    Attributes:
        attempts: maximum number of attempts; 1 means no retry.
        base_s: the first pause, in seconds. Each further pause is twice as long. Half of each is random, so that clients
            that failed together don't return together.
        cap_s: the longest pause, in seconds (a longer Retry-After is obeyed, up to 30 s).
    """

    attempts: int = 7
    base_s: float = 0.25
    cap_s: float = 8.0

    def pause(self, attempt: int, retry_after_s: float = 0.0) -> float:
        """How many seconds to wait after attempt number `attempt` (from 0) failed."""
        longest = min(self.cap_s, self.base_s * 2.0**attempt)
        return min(_MAX_PAUSE_S, max(retry_after_s, longest * random.uniform(0.5, 1.0)))


@dataclass(frozen=True, slots=True)
class Response:
    """A complete response, and the id of its request in the log of the service."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    request_id: str | None = None


class Transport:
    """One connection pool to one service.

    Args:
        url: such as `http://127.0.0.1:8080`; it may hold a user and a password for a proxy (`http://user:pw@host`).
        timeout_s: timeout of one answer, in seconds; more than the service's own deadline.
        retry: how often a failed request is sent again.
        connections: maximum number of connections.
        api_key: the key that the service asks for.

    Attributes:
        url: the URL as it may be shown: without a password.

    Raises:
        VisualSearchError: `invalid_parameter` if it is not a URL.
    """

    def __init__(
        self, url: str, timeout_s: float, retry: RetryPolicy, connections: int, api_key: str | None = None
    ) -> None:
        self._base = normalise_url(url)
        self.url = without_password(self._base)
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=timeout_s)
        self._timeout_s = timeout_s
        self._retry = retry
        self._connections = connections
        self._api_key = api_key
        self._session: aiohttp.ClientSession | None = None
        self._has_answered = False

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(self, method: str, path: str, body: Body | None = None, attempts: int | None = None) -> Response:
        """Send a request that may be executed twice without harm; `path` is already percent-encoded.

        An answer with an error status is returned, not raised.

        Its id is that of the `executors.request_id.request_scope` around the call, or a new one.

        Raises:
            VisualSearchError: `unavailable` if no service answers, `deadline_exceeded` if it takes too long.
        """
        request_id = request_id_from(current_request_id())
        try:
            return await self._request(method, path, body, attempts, request_id)
        except VisualSearchError as error:
            error.request_id = request_id
            raise

    async def _request(
        self, method: str, path: str, body: Body | None, attempts: int | None, request_id: str
    ) -> Response:
        most = attempts or self._retry.attempts
        for attempt in range(most):
            last = attempt + 1 == most
            retry_after_s = 0.0
            try:
                response = await self._send(method, path, body, request_id)
                self._has_answered = True
                if response.status not in _RETRIED_STATUSES or last:
                    return response
                retry_after_s = parse_retry_after(response.headers.get("Retry-After"))
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                # A service that answered before may be restarting; there is no point in waiting for one that never did.
                if last or not self._has_answered:
                    raise self._nothing_there() from None
            except TimeoutError:
                raise VisualSearchError(
                    "deadline_exceeded", f"{self.url} did not answer within {self._timeout_s:g} s"
                ) from None
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                if last:
                    raise self._broken_off() from None
            except aiohttp.ClientError:
                raise self._no_service() from None
            await asyncio.sleep(self._retry.pause(attempt, retry_after_s))
        raise AssertionError("the last attempt returns or raises")

    async def json(self, method: str, path: str, body: Body | None = None, attempts: int | None = None) -> Any:
        """Send a request and return its answer, a JSON object.

        Raises:
            VisualSearchError: the service's error if it refused the request as a whole, or those of `request`.
        """
        response = await self.request(method, path, body, attempts)
        content = self.parse(response)
        if content.get("error") is not None:
            error = error_from_json(content["error"])
            error.request_id = response.request_id
            raise error
        return content

    def parse(self, response: Response) -> dict[str, Any]:
        """The JSON object in a response.

        Raises:
            VisualSearchError: `unavailable` if it is not one: a proxy or another service answered.
        """
        try:
            content = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            raise VisualSearchError(
                "unavailable",
                f"{self.url} answered with status {response.status}, but not as a visual-search service does",
                status=response.status,
            )
        return content

    async def _send(self, method: str, path: str, body: Body | None, request_id: str) -> Response:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        headers = {HEADER: request_id, **({"Content-Type": body.content_type} if body else {})}
        if self._api_key is not None:
            headers["x-api-key"] = self._api_key
        # A file object is sent in pieces; aiohttp would write a large bytes object in one go and block the loop.
        data = io.BytesIO(body.content) if body else None
        url = URL(self._base + path, encoded=True)
        # A key must not follow a redirect to another service.
        follow = self._api_key is None
        async with self._session.request(method, url, data=data, headers=headers, allow_redirects=follow) as response:
            return Response(response.status, dict(response.headers), await response.read(), request_id)

    def _nothing_there(self) -> VisualSearchError:
        message = f"nothing answers at {self.url}; start the flow with `visual-search serve`, or give another --url"
        return VisualSearchError("unavailable", message, url=self.url)

    def _broken_off(self) -> VisualSearchError:
        message = f"the connection to {self.url} broke several times; see the log of the flow"
        return VisualSearchError("unavailable", message, url=self.url)

    def _no_service(self) -> VisualSearchError:
        message = f"{self.url} does not answer as HTTP; is it the gRPC port?"
        return VisualSearchError("unavailable", message, url=self.url)

    async def __aenter__(self) -> Transport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def normalise_url(url: str) -> str:
    """A URL with a scheme and without a slash at its end, made from `host:port` or a URL.

    Raises:
        VisualSearchError: `invalid_parameter`.
    """
    given = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(given)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        shown = without_password(url)
        raise VisualSearchError("invalid_parameter", f"{shown!r} is not the URL of a service (http://host:port)")
    return given.rstrip("/")


def without_password(url: str) -> str:
    """A URL, valid or not, as it may be shown: with `***` in place of a password."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    login, at, host = rest.rpartition("@")
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{colon}***{at}{host}" if at and colon else url


def parse_retry_after(value: str | None) -> float:
    """The seconds in a Retry-After header; 0 if there is none, or if it is a date."""
    try:
        seconds = float(value or 0)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < float("inf") else 0.0
