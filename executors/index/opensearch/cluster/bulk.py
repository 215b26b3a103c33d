"""Bulk requests: small writes that arrive at the same time share one request, and each gets its own result."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from executors.index.opensearch.cluster.connection import Connection

# Larger requests are no faster, and cost the server memory.
_MOST_BYTES: Final = 8_000_000
# While one request is on its way, the next one is assembled; a third one is not sent yet, so that it grows.
_IN_FLIGHT: Final = 2

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """One document to write.

    Attributes:
        alias: of the index.
        key: the document's `_id`.
        source: the new document.
        place: sequence number and primary term of the document that it may replace; None: there must be none.
        version: instead of a place: an external version, which has to be newer than the stored one.
    """

    alias: str
    key: str
    source: dict[str, Any]
    place: tuple[int, int] | None = None
    version: int | None = None

    def lines(self) -> tuple[bytes, bytes]:
        """The two lines of the request."""
        about: dict[str, Any] = {"_index": self.alias, "_id": self.key}
        if self.version is not None:
            about |= {"version": self.version, "version_type": "external"}
        elif self.place is not None:
            about |= {"if_seq_no": self.place[0], "if_primary_term": self.place[1]}
        verb = "create" if self.place is None and self.version is None else "index"
        return orjson.dumps({verb: about}), orjson.dumps(self.source, option=orjson.OPT_SERIALIZE_NUMPY)


@dataclass(slots=True)
class _Job:
    lines: list[bytes]
    actions: int
    size: int
    refresh: bool
    done: asyncio.Future[list[Item]]


class BulkQueue:
    """Sends the submitted documents; while requests are on their way, new documents wait and are sent together."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[_Job] = []
        self._sending: set[asyncio.Task[None]] = set()

    async def submit(self, actions: Sequence[Action], *, refresh: bool) -> list[Item]:
        """Write documents; returns the server's result for each, in their order.

        Args:
            refresh: searches that start after this returned see them.

        Raises:
            VisualSearchError: `storage_unavailable`, `storage_denied`; they may still have been written.
        """
        if not actions:
            return []
        lines = [line for action in actions for line in action.lines()]
        done: asyncio.Future[list[Item]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(lines, len(actions), sum(map(len, lines)), refresh, done))
        self._send_next()
        return await done

    def _send_next(self) -> None:
        while self._waiting and len(self._sending) < _IN_FLIGHT:
            jobs = self._take()
            task = asyncio.get_running_loop().create_task(self._send(jobs))
            self._sending.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        self._send_next()

    def _take(self) -> list[_Job]:
        """The next jobs that fit into one request: the first, and later ones that want the same refresh."""
        first = self._waiting[0]
        taken, size = [first], first.size
        for job in self._waiting[1:]:
            if job.refresh == first.refresh and size + job.size <= _MOST_BYTES:
                taken.append(job)
                size += job.size
        chosen = set(map(id, taken))
        self._waiting = [job for job in self._waiting if id(job) not in chosen]
        return taken

    async def _send(self, jobs: Sequence[_Job]) -> None:
        params = {
            "require_alias": "true",
            "refresh": "true" if jobs[0].refresh else "false",
            # A write that waits for a missing shard fails alone, and does not delay the others.
            "timeout": f"{max(1, round(500 * self._connection.timeout_s))}ms",
        }
        try:
            answer = await self._connection.send_lines(
                "/_bulk", [line for job in jobs for line in job.lines], params=params
            )
        except BaseException as error:
            for job in jobs:
                if not job.done.done():
                    job.done.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        items = [next(iter(item.values())) for item in answer["items"]]
        for job in jobs:
            mine, items = items[: job.actions], items[job.actions :]
            if not job.done.done():
                job.done.set_result(mine)
