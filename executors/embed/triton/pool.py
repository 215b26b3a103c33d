"""A pool of servers with the same models: it chooses which one to call, and the next one if that fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.embed.triton.client import CallError, FailureKind
from executors.embed.triton.endpoint import Endpoint, EndpointOptions
from executors.embed.triton.monitor import Monitor, MonitorPace
from executors.errors import ErrorCode, VisualSearchError
from executors.models.spec import Tower, Towers

Failures = dict[Endpoint, CallError]


class Pool:
    """Endpoints in the order of preference. Belongs to the event loop on which it is made.

    The rows of one call go to one endpoint after the other until one answers, to each at most once.
    """

    def __init__(self, urls: list[str], towers: Towers, options: EndpointOptions, pace: MonitorPace) -> None:
        self.loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._closed = False
        self._parts_ahead = max(1, options.in_flight // 2)
        self.endpoints = [Endpoint(url, list(towers), options, self._announce) for url in urls]
        self.monitors = [Monitor(endpoint, pace) for endpoint in self.endpoints]
        self._companions: list[asyncio.Task[None]] = []
        for monitor in self.monitors:
            monitor.start()

    def also_run(self, companion: Coroutine[Any, Any, None]) -> None:
        """Run a task that ends with the pool."""
        self._companions.append(asyncio.create_task(companion))

    async def close(self) -> None:
        """End the monitors and close the clients; calls in flight fail."""
        self._closed = True
        self._announce()
        for companion in self._companions:
            companion.cancel()
        await asyncio.gather(*self._companions, return_exceptions=True)
        await asyncio.gather(*(monitor.stop() for monitor in self.monitors))
        await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))

    def ready(self, tower: Tower) -> bool:
        """Whether any endpoint can be called."""
        return any(endpoint.served(tower) for endpoint in self.endpoints)

    @property
    def fresh(self) -> bool:
        """Whether no endpoint was checked yet; `run` waits for that."""
        return not any(endpoint.judged for endpoint in self.endpoints)

    async def run(
        self, tower: Tower, inputs: NDArray[Any], deadline: float, failures: Failures | None = None
    ) -> NDArray[np.float32]:
        """Run a model on rows: in one call, or in as many as the endpoint's limit requires.

        Args:
            tower: the model.
            inputs: N x `tower.input_shape`.
            deadline: of the event loop's clock.
            failures: endpoints that failed these rows already.

        Raises:
            VisualSearchError: `unavailable`, `deadline_exceeded`, `overloaded`, `embedding_failed`; with the state of
                every endpoint in `details.endpoints`.
        """
        failures = dict(failures or {})
        while (endpoint := await self._choose(tower, failures, deadline)) is not None:
            if (served := endpoint.served(tower)) is None:
                continue
            if len(inputs) > served.rows_per_call:
                return await self._run_parts(tower, inputs, served.rows_per_call, deadline, failures)
            if failures:
                endpoint.stats.count_retry()
            try:
                return await endpoint.call(tower, inputs, deadline)
            except CallError as failure:
                failures[endpoint] = failure
        raise self.error(tower, failures, late=self.loop.time() >= deadline)

    async def _choose(self, tower: Tower, failures: Failures, deadline: float) -> Endpoint | None:
        """The first endpoint that may be called and did not fail these rows; waits for one that is being verified.

        An endpoint that fails some of its calls is better than none.
        """
        while (left := deadline - self.loop.time()) > 0:
            untried = [endpoint for endpoint in self.endpoints if endpoint not in failures]
            served = [endpoint for endpoint in untried if endpoint.served(tower)]
            for endpoint in served:
                if not endpoint.sick:
                    return endpoint
            if served:
                return served[0]
            if self._closed or not any(endpoint.undecided(tower) for endpoint in untried):
                return None
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                return None
        return None

    async def _run_parts(
        self, tower: Tower, inputs: NDArray[Any], size: int, deadline: float, failures: Failures
    ) -> NDArray[np.float32]:
        """Run parts of at most `size` rows; the first failure ends the others.

        Only some of them ask for a slot at a time, so that a search does not wait for all of a large write.
        """
        vectors = np.empty((len(inputs), tower.dimension), np.float32)
        starts = iter(range(0, len(inputs), size))

        async def work(starts: Iterator[int]) -> None:
            for start in starts:
                part = slice(start, start + size)
                vectors[part] = await self.run(tower, inputs[part], deadline, failures)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(self._parts_ahead, -(-len(inputs) // size))):
                    workers.create_task(work(starts))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return vectors

    def error(self, tower: Tower, failures: Failures, *, late: bool = False) -> VisualSearchError:
        """The error when no endpoint returned vectors."""
        states = [_describe(endpoint, tower, failures.get(endpoint)) for endpoint in self.endpoints]
        kinds = {failure.kind for failure in failures.values()}
        everywhere = len(failures) == len(self.endpoints)
        code: ErrorCode
        if late or kinds == {FailureKind.NO_SLOT}:
            code, message = "deadline_exceeded", "no Triton server answered in time"
        elif everywhere and kinds == {FailureKind.BUSY}:
            code, message = "overloaded", "the queue of every Triton server is full"
        elif everywhere and kinds == {FailureKind.WRONG_ANSWER}:
            code, message = "embedding_failed", next(iter(failures.values())).message
        else:
            code, message = "unavailable", f"no Triton server can run the model {tower.name!r}"
        reasons = "; ".join(f"{each['url']}: {each['error']['message']}" for each in states if each["error"])
        return VisualSearchError(
            code, f"{message} ({reasons})" if reasons else message, stage="embed", endpoints=states
        )

    def status(self) -> list[dict[str, Any]]:
        """The status of every endpoint, in the order of preference."""
        return [endpoint.status() for endpoint in self.endpoints]

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _describe(endpoint: Endpoint, tower: Tower, failure: CallError | None) -> dict[str, Any]:
    error: dict[str, Any] | None = None
    if failure is not None:
        error = {"code": str(failure.kind), "message": failure.message}
    elif (found := endpoint.error(tower)) is not None:
        error = {"code": found.code, "message": found.message}
    elif endpoint.undecided(tower):
        error = {"code": "checking", "message": "its model is being verified"}
    return {"url": endpoint.url, "state": endpoint.state(tower), "error": error}
