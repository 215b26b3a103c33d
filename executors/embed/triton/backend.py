"""The embedding backend that calls remote Triton servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from executors.embed.backend import EmbeddingBackend, check_inputs
from executors.embed.triton.client import CallError, ThreadedClient
from executors.embed.triton.endpoint import EndpointOptions
from executors.embed.triton.handshake import verify
from executors.embed.triton.monitor import MonitorPace
from executors.embed.triton.pool import Pool
from executors.errors import ErrorCode, VisualSearchError
from executors.models.reference import Reference, read_reference
from executors.models.spec import Tower, Towers

# Errors that retrying cannot fix; an operator must change the server or the setting.
_WRONG_MODEL: Final[frozenset[ErrorCode]] = frozenset({"model_mismatch", "model_invalid", "embedding_failed"})

Finding: TypeAlias = VisualSearchError | CallError | None


class TritonBackend(EmbeddingBackend):
    """The towers on Triton servers that the operator runs elsewhere.

    `start` checks every server once, with clients of its own. The long-lived clients, one per server, belong to the
    event loop that first calls `embed` or `status` afterwards; so do the monitors, which run until `close`.
    """

    name = "triton"

    def __init__(
        self,
        models_dir: Path,
        towers: Towers,
        urls: Sequence[str],
        *,
        preferred: int,
        timeout_s: float,
        total_timeout_s: float,
        in_flight: int,
        cpu_batch: int,
        pace: MonitorPace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep the arguments; `start` checks the servers.

        Args:
            models_dir: the local model repository; it has the reference vectors that the servers have to return.
            towers: the models that the servers have to serve.
            urls: `host:port` of the servers' gRPC.
            preferred: the number of the server that is called first, modulo their number; the others follow in order.
            timeout_s: the deadline of one call, in seconds.
            total_timeout_s: the deadline of `embed`, including waits and retries on other servers.
            in_flight: the maximum number of calls in flight to one server.
            cpu_batch: the maximum number of rows of a call to a model on a CPU, where large batches are slower.
            pace: how often servers are checked.
            clock: seconds that never go back; circuits and monitors measure with it.
        """
        self.towers = towers
        first = preferred % max(1, len(urls))
        self._urls = [*urls[first:], *urls[:first]]
        self._models_dir = models_dir
        self._total_timeout_s = total_timeout_s
        self._references: dict[str, Reference | None] = {}
        self._options = EndpointOptions(timeout_s, in_flight, cpu_batch, self._references, clock=clock)
        self._pace = pace or MonitorPace()
        self._pool: Pool | None = None
        self._started = self._closed = self._some_passed = False

    async def start(self) -> None:
        await self._read_references()
        findings = dict(zip(self._urls, await asyncio.gather(*(self._look(url) for url in self._urls)), strict=True))
        wrong = {url: found for url, found in findings.items() if is_wrong(found)}
        if wrong and len(wrong) == len(findings):
            raise _all_wrong(wrong)
        self._some_passed = None in findings.values()
        self._started = True

    async def embed(self, tower: Tower, inputs: NDArray[Any]) -> NDArray[np.float32]:
        check_inputs(tower, inputs)
        pool = self._serving()
        if pool is None:
            raise VisualSearchError("unavailable", "the backend is not started, or was closed", stage="embed")
        return await pool.run(tower, inputs, pool.loop.time() + self._total_timeout_s)

    async def close(self) -> None:
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None or pool.loop.is_closed():
            return
        if pool.loop is asyncio.get_running_loop():
            await pool.close()
        else:
            # This is not awaited: the caller of this method may be blocking that loop while it waits.
            asyncio.run_coroutine_threadsafe(pool.close(), pool.loop)

    def status(self) -> dict[str, Any]:
        pool = None
        with suppress(RuntimeError):  # called from outside an event loop
            pool = self._serving()
        report: dict[str, Any] = {"backend": self.name, "ready": False, "endpoints": pool.status() if pool else []}
        if pool is None:
            error = VisualSearchError("unavailable", "no server was checked yet", stage="embed")
            return report | {"error": error.to_json()}
        for tower in self.towers:
            # Right after the start, the results of `start` still hold; a call waits until the servers are verified
            # again.
            if not (pool.ready(tower) or (self._some_passed and pool.fresh)):
                return report | {"error": pool.error(tower, {}).to_json()}
        return report | {"ready": True, "error": None}

    def _serving(self) -> Pool | None:
        """The pool, made at the first call on the serving loop; None before `start` and after `close`.

        Raises:
            RuntimeError: it has to be made, and no event loop is running.
        """
        if self._pool is None and self._started and not self._closed:
            self._pool = self._open_pool()
        return self._pool

    def _open_pool(self) -> Pool:
        return Pool(self._urls, self.towers, self._options, self._pace)

    async def _read_references(self) -> None:
        for tower in self.towers:
            self._references[tower.name] = await asyncio.to_thread(read_reference, self._models_dir, tower)

    async def _look(self, url: str) -> Finding:
        """Verify every tower on one server, with a client of its own; returns the first error, or None."""
        client = ThreadedClient(url)
        seconds = self._pace.verify_within / len(list(self.towers))
        try:
            for tower in self.towers:
                reference = self._references[tower.name]
                await verify(
                    client,
                    tower,
                    reference,
                    cpu_batch=self._options.cpu_batch,
                    seconds=seconds,
                    answer_s=self._pace.check_within,
                )
        except (VisualSearchError, CallError) as error:
            return error
        finally:
            await client.close()
        return None


def is_wrong(found: Finding) -> bool:
    """Whether the error means that a server answers with another model than the expected one."""
    return isinstance(found, VisualSearchError) and found.code in _WRONG_MODEL


def _all_wrong(wrong: dict[str, Finding]) -> VisualSearchError:
    """One error for servers that all answer, each with another model than the expected one."""
    errors = {url: found for url, found in wrong.items() if isinstance(found, VisualSearchError)}
    first = next(iter(errors.values()))
    message = "; ".join(f"{url}: {error.message}" for url, error in errors.items())
    endpoints = [{"url": url, "error": error.to_json()} for url, error in errors.items()]
    return VisualSearchError(first.code, message, **{**first.details, "endpoints": endpoints})
