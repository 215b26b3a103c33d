"""What every part of the client stands on: one connection pool, and a way to post documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from executors.client.answers import Answer, answer_from_json
from executors.client.requests import Document, encode_request
from executors.client.transport import RetryPolicy, Transport
from executors.document_values import is_text
from executors.errors import ErrorCode, VisualSearchError

DEFAULT_URL: Final = "http://127.0.0.1:8080"
# The same as executors.documents.DEFAULT_COLLECTION, whose module takes half a second to import.
DEFAULT_COLLECTION: Final = "images"
Result = TypeVar("Result")


class ClientBase:
    """One service, by its URL. Use it as an async context manager, or call `close`.

    Args:
        url: such as `http://127.0.0.1:8080`.
        timeout_s: how long to wait for one answer.
        retry: how often and how patiently to send again.
        connections: at most so many requests at a time.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 120.0,
        retry: RetryPolicy | None = None,
        connections: int = 16,
    ) -> None:
        self._transport = Transport(url, timeout_s, retry or RetryPolicy(), connections)

    @property
    def url(self) -> str:
        """Where the service is."""
        return self._transport.url

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _post(
        self,
        endpoint: str,
        documents: Sequence[Document],
        parameters: Mapping[str, Any],
        result_from_json: Callable[[Mapping[str, Any]], Result],
        expected: int | None = None,
    ) -> Answer[Result]:
        """Post documents; the answer holds a result for each, or as many as `expected` says."""
        content = await self._transport.json("POST", endpoint, encode_request(documents, parameters))
        return answer_from_json(content, len(documents) if expected is None else expected, result_from_json)


def quoted(name: str, value: str) -> str:
    """A value as a part of a URL.

    Raises:
        VisualSearchError: `invalid_parameter`, or `invalid_id`, for what is no Unicode text.
    """
    if not isinstance(value, str) or not is_text(value):
        code: ErrorCode = "invalid_id" if name == "id" else "invalid_parameter"
        raise VisualSearchError(code, f"{name}: {value!r} is not valid Unicode text")
    return quote(value, safe="")


def given_parameters(**parameters: Any) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}


def wanted_parts(**parts: bool) -> dict[str, Any]:
    """The parameter `with`: what else to return."""
    wanted = [name for name, given in parts.items() if given]
    return {"with": wanted} if wanted else {}
