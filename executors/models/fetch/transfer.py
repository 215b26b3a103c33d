"""Transfers one file over HTTP, over as many connections as necessary."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias
from urllib.parse import urlsplit

import aiohttp

from executors import __version__
from executors.errors import VisualSearchError
from executors.models.fetch.partial_download import Part, Validator

# Called with the bytes so far, and the size of the file if that is known.
ByteProgress: TypeAlias = Callable[[int, int | None], None]

_RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS: Final = 5
_LONGEST_PAUSE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: the number of connections in a row that get less than `progress_bytes` beyond the furthest point so
            far, after which the transfer fails.
        backoff_s: the pause before the second attempt; doubled each time, 30 s at most.
        connect_s: the timeout of connecting.
        idle_s: the timeout without a single byte.
        progress_bytes: a connection that gets this many bytes resets the count of attempts, and this many have to
            arrive within `progress_s`: a server that sends a byte now and then is useless.
        progress_s: see `progress_bytes`.
        most_bytes, least_free_bytes: for a file of unknown length, its maximum size, and the free space that has to
            remain on the disk.
    """

    attempts: int = 5
    backoff_s: float = 1.0
    connect_s: float = 15.0
    idle_s: float = 30.0
    progress_bytes: int = 1 << 16
    progress_s: float = 60.0
    most_bytes: int = 8_000_000_000
    least_free_bytes: int = 1_000_000_000


class _AttemptError(Exception):
    """This connection failed; another one may succeed."""


class _ChangedError(Exception):
    """The bytes so far can't be used, for the given reason; the next attempt starts at the first byte."""


class Transfer:
    """Completes a partial file from an address."""

    def __init__(
        self, url: str, part: Part, progress: ByteProgress, tell: Callable[[str], None], patience: Patience
    ) -> None:
        self._url = url
        self._part = part
        self._progress = progress
        self._tell = tell
        self._patience = patience

    async def run(self) -> None:
        """Fetch the missing bytes.

        Raises:
            VisualSearchError: `download_failed`; `checksum_mismatch` for a file of another length;
                `storage_unavailable` when the disk is too small.
            OSError: the part can't be written.
        """
        failures = 0
        # Bytes that are transferred a second time are no progress. Otherwise a server that can't resume would be asked
        # forever.
        furthest = self._part.length
        async with self._session() as session:
            while True:
                try:
                    await self._attempt(session)
                    return
                except _ChangedError as change:
                    self._part.clear()
                    reason = str(change)
                except _AttemptError as failure:
                    reason = str(failure)
                gained = self._part.length - furthest
                furthest = max(furthest, self._part.length)
                failures = 1 if gained >= self._patience.progress_bytes else failures + 1
                if failures >= self._patience.attempts:
                    raise fetch_error(self._url, reason)
                pause = min(self._patience.backoff_s * 2 ** (failures - 1), _LONGEST_PAUSE_S)
                over = furthest and not (self._part.validator and self._part.length)
                how = ", from the first byte" if over else ""
                self._tell(f"{self._part.name}: {reason}; trying again in {pause:.0f} s{how}")
                await asyncio.sleep(pause)

    def _session(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=self._patience.connect_s, sock_read=self._patience.idle_s
        )
        # identity: a compressed body has another length and another checksum than the file. trust_env: proxies are
        # those of the environment, as for pip.
        headers = {"Accept-Encoding": "identity", "User-Agent": f"visual-search-flows/{__version__}"}
        return aiohttp.ClientSession(timeout=timeout, headers=headers, auto_decompress=False, trust_env=True)

    async def _attempt(self, session: aiohttp.ClientSession) -> None:
        """One connection; returns when the part is complete."""
        part = self._part
        if part.total is not None and part.length == part.total:
            return
        # Without a validator, the bytes so far and the next ones might belong to different files.
        offset = part.length if part.validator else 0
        headers = {"Range": f"bytes={offset}-", "If-Range": part.validator.value} if part.validator and offset else {}
        async with self._answer(session, headers) as answer:
            offset = self._begin(answer, offset)
            with part.file.open("ab") as out:
                await self._receive(answer, out, offset)
        if part.total is not None and part.length != part.total:
            raise _AttemptError(f"the connection ended after {part.length:,} of {part.total:,} bytes")

    @asynccontextmanager
    async def _answer(
        self, session: aiohttp.ClientSession, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's answer, whatever its status; raises a readable reason if the connection fails, here or while it
        is read.
        """
        try:
            async with session.get(self._url, headers=headers, max_redirects=_MOST_REDIRECTS) as answer:
                yield answer
        except aiohttp.TooManyRedirects:
            raise fetch_error(self._url, f"more than {_MOST_REDIRECTS} redirects") from None
        except aiohttp.NonHttpUrlClientError:
            raise fetch_error(self._url, "it redirects to an address that is not http or https") from None
        except aiohttp.InvalidURL:
            raise fetch_error(self._url, "it redirects to something that is not the address of a file") from None
        except aiohttp.ClientConnectorCertificateError:
            raise fetch_error(self._url, "its certificate is not valid") from None
        except TimeoutError:
            raise _AttemptError("it does not answer in time") from None
        except aiohttp.ClientError as error:
            raise _AttemptError(_reason(error)) from None

    def _begin(self, answer: aiohttp.ClientResponse, offset: int) -> int:
        """The offset in the file where the answer starts; records which version of the file it is."""
        part, status = self._part, answer.status
        if status in _RETRIED_STATUSES:
            raise _AttemptError(f"HTTP status {status}")
        if status == 206:
            first, total = _content_range(answer.headers.get("Content-Range", ""))
            # With If-Range, a server need not repeat the validator (RFC 9110, 15.3.7). If it does, it gives its current
            # version.
            if Validator.of(answer.headers) not in (None, part.validator) or part.total not in (None, total):
                raise _ChangedError("the file changed on its server")
            if not offset or first != offset:
                raise _ChangedError("the server sends another part of the file than the one that was asked for")
            part.total = total
            part.check_space((total or 0) - offset)
            return offset
        if status == 416:
            raise _ChangedError("the server has no such part of the file")
        if status != 200:
            raise fetch_error(self._url, f"HTTP status {status}", status=status)
        if offset:
            self._tell(f"{part.name}: the server sends it from the first byte")
        part.check_total(_host(self._url), answer.content_length)
        part.restart(Validator.of(answer.headers), answer.content_length)
        part.check_space(part.total or 0)
        return 0

    async def _receive(self, answer: aiohttp.ClientResponse, out: BinaryIO, done: int) -> None:
        """Write the bytes as they arrive."""
        total = self._part.total
        self._progress(done, total)
        chunks = answer.content.iter_any()
        while True:
            # Each interval has to bring its share in time, however regularly single bytes may arrive.
            share = done + self._patience.progress_bytes
            if total is None:
                self._part.check_endless(done, self._patience.most_bytes, self._patience.least_free_bytes)
            async with asyncio.timeout(self._patience.progress_s):
                while done < share:
                    try:
                        chunk = await anext(chunks)
                    except StopAsyncIteration:
                        return
                    out.write(chunk)
                    done += len(chunk)
                    if total is not None and done > total:
                        raise self._part.refuse(f"{_host(self._url)} sends more than {total:,} bytes")
                    self._progress(done, total)


def fetch_error(url: str, reason: str, **details: int) -> VisualSearchError:
    """The error `download_failed`, with the file, the host and the reason; the address is left out, as it may contain
    credentials.
    """
    host, name = _host(url), urlsplit(url).path.rpartition("/")[2]
    message = f"{name} can't be fetched from {host}: {reason}"
    return VisualSearchError("download_failed", message, host=host, file=name, **details)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "this machine"


def _content_range(text: str) -> tuple[int | None, int | None]:
    """First byte and total of `bytes 100-199/200`; RFC 9110, 14.4."""
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not first.isdecimal():
        return None, None
    return int(first), int(total) if total.isdecimal() else None


def _reason(error: aiohttp.ClientError) -> str:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host, or no network"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({error.strerror or type(error.os_error).__name__})"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
        return "the connection broke"
    return f"no valid answer ({type(error).__name__})"
