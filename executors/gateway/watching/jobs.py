"""The long requests that this gateway works on: bulk requests and imports, checks, measurements and deletes by filter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

_NO_DOCUMENTS: Final = frozenset({"/verify", "/quality"})


@dataclass(slots=True)
class Job:
    """A long request.

    Attributes:
        number: from 1, since the gateway started.
        endpoint: its endpoint.
        collection: the collection that its parameters name.
        documents: how many it brought.
        started: when it began, as RFC 3339.
        done: how many of the documents have an answer.
    """

    number: int
    endpoint: str
    collection: str | None
    documents: int
    started: str
    done: int = 0


# The job that this task works for; tasks that it starts inherit it.
current_job: Final[ContextVar[Job | None]] = ContextVar("current_job", default=None)


class Jobs:
    """The long requests in flight, and sums of those that have ended. Belongs to one event loop."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._running: dict[int, Job] = {}
        self._ended: dict[str, list[int]] = {}

    @contextmanager
    def running(self, endpoint: str, collection: str | None, documents: int) -> Iterator[None]:
        """Count a job while the block runs."""
        started = datetime.now(UTC).isoformat(timespec="milliseconds")
        job = Job(next(self._numbers), endpoint, collection, documents, started)
        self._running[job.number] = job
        token = current_job.set(job)
        try:
            yield
        finally:
            current_job.reset(token)
            del self._running[job.number]
            ended = self._ended.setdefault(endpoint, [0, 0])
            ended[0] += 1
            ended[1] += job.done

    def to_json(self) -> dict[str, Any]:
        """Return the jobs in flight, oldest first, and by endpoint how many have ended with how many documents."""
        return {
            "running": [
                {
                    "job": each.number,
                    "endpoint": each.endpoint,
                    "collection": each.collection,
                    "documents": each.documents,
                    "done": each.done,
                    "started": each.started,
                }
                for each in self._running.values()
            ],
            "ended": {
                endpoint: {"jobs": jobs, "documents": documents}
                for endpoint, (jobs, documents) in sorted(self._ended.items())
            },
        }


def note_done(documents: int) -> None:
    """Note that so many documents of the current job have an answer."""
    job = current_job.get()
    if job is not None:
        job.done += documents


def is_job(endpoint: str, parameters: Any, *, bulk: bool) -> bool:
    """Return whether a request is a job: it is bulk, or works on a whole collection."""
    deletes_by_filter = endpoint == "/delete" and isinstance(parameters, dict) and parameters.get("filter") is not None
    return bulk or endpoint in _NO_DOCUMENTS or deletes_by_filter


def collection_of(parameters: Any) -> str | None:
    """Return the collection that parameters name, which are not checked yet."""
    name = parameters.get("collection") if isinstance(parameters, dict) else None
    return name if isinstance(name, str) else None
