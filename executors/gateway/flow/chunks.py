"""Splits a request into chunks, sends several at once, and puts their answers back in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError, as_error
from executors.gateway.flow.route import StageAnswer
from executors.gateway.watching.jobs import note_done
from executors.index.wire.documents import collection_of
from executors.scheduling.turns import FairPlaces, current_turn

# A chunk is what travels through the flow as one message: the best size by measurement, and bounded in bytes, since the
# event loops stand still while a message is written or read.
CHUNK_DOCUMENTS: Final = 32
CHUNK_BYTES: Final = 8_000_000
# Bulk chunks in the flow at once, over all requests: enough to keep every stage busy, few enough that none waits for long.
BULK_CHUNKS_IN_FLIGHT: Final = 6
BULK_CHUNKS_A_REPLICA: Final = 3
# Those of small requests beside them.
SMALL_CHUNKS_IN_FLIGHT: Final = 18
# A chunk that is alone is prepared in parts: enough for every replica to have one while its next one is decoded, each large
# enough for a run of the model.
PARTS_A_REPLICA: Final = 2
SMALLEST_PART: Final = 4


@dataclass(slots=True)
class Answer:
    """The documents of an answer in request order, with the account of shards and times.

    `extra` is what only this endpoint says beside documents: `next`, `count`, `collections`, …. `thumbnails_in` is the
    collection of a search's hits, where these are to tell the addresses of their thumbnails; `address_of`
    makes such an address from the collection and the id.
    """

    documents: list[ImageDoc]
    took_ms: dict[str, float] = field(default_factory=dict)
    shards_total: int = 0
    shards_answered: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    thumbnails_in: str | None = None
    address_of: Callable[[str, str], str] | None = None

    @property
    def failed(self) -> int:
        """How many documents carry an error."""
        return sum(document.error is not None for document in self.documents)

    def info(self) -> dict[str, Any]:
        """The `parameters` of an answer."""
        return {
            "shards": {"total": self.shards_total, "answered": self.shards_answered},
            "partial": self.shards_answered < self.shards_total,
            "failed": self.failed,
            "took_ms": self.took_ms,
            **self.extra,
        }


class ChunkSender:
    """Sends documents in chunks, bounded over all requests of this gateway."""

    def __init__(self, replicas: int) -> None:
        self._beginning = asyncio.Lock()
        self._most_parts = PARTS_A_REPLICA * replicas
        bulk = max(BULK_CHUNKS_IN_FLIGHT, BULK_CHUNKS_A_REPLICA * replicas)
        self.places = FairPlaces(bulk + SMALL_CHUNKS_IN_FLIGHT, bulk)

    async def send(self, documents: list[ImageDoc], post: Callable[[list[ImageDoc]], Awaitable[StageAnswer]]) -> Answer:
        """Send what is sound in chunks, several at once, and put the answers back in request order."""
        answers = list(documents)
        took_ms: dict[str, float] = {}

        async def run(positions: Sequence[int]) -> None:
            chunk = [documents[n] for n in positions]
            turn = current_turn.get()
            async with self.places.hold(turn):
                if turn.bulk:
                    await self._wait_for_others()
                answer = await post(chunk)
            for document in chunk:
                document.put(blob=None, tensor=None)  # the rest of the request need not keep them in memory
            for n, answered in zip(positions, answer.documents, strict=True):
                answers[n] = answered
            add_up(took_ms, answer.took_ms)
            note_done(len(positions))

        async def run_or_fail(positions: Sequence[int]) -> None:
            try:
                await run(positions)
            except asyncio.CancelledError:
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                # Only a call was cancelled: the task group would take that for an end without a fault.
                fail(positions, VisualSearchError("unavailable", "a call to a stage was cut off", stage="flow"))
            except Exception as raised:
                fail(positions, as_error(raised, "gateway"))

        def fail(positions: Sequence[int], error: VisualSearchError) -> None:
            failure = Failure.of(error, str(error.details.get("stage", "")))
            for n in positions:
                answers[n] = ImageDoc.from_values(id=documents[n].id, error=failure)

        chunks = list(_chunks(documents))
        if len(chunks) == 1:
            await run_or_fail(chunks[0])
        else:
            async with asyncio.TaskGroup() as group:
                for positions in chunks:
                    group.create_task(run_or_fail(positions))
        return Answer(answers, took_ms)

    def parts_of(self, chunk: Sequence[ImageDoc]) -> list[Sequence[ImageDoc]]:
        """Cut a chunk that is alone in the flow, so that all replicas work on it; beside others it stays whole."""
        if self.places.taken > 1 or self.places.waiting:
            return [chunk]
        count = max(1, min(self._most_parts, len(chunk) // SMALLEST_PART))
        ends = [len(chunk) * number // count for number in range(count + 1)]
        return [chunk[start:end] for start, end in pairwise(ends)]

    async def _wait_for_others(self) -> None:
        """Begin one bulk chunk in each turn of the event loop: to write the message takes it some 20 ms."""
        async with self._beginning:
            await asyncio.sleep(0)


def _chunks(documents: Sequence[ImageDoc]) -> Iterator[list[int]]:
    """The positions of the documents without an error, in pieces."""
    chunk: list[int] = []
    size = 0
    for position, document in enumerate(documents):
        if document.error is not None:
            continue
        weight = size_of(document)
        if chunk and (len(chunk) >= CHUNK_DOCUMENTS or size + weight > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(position)
        size += weight
    if chunk:
        yield chunk


def size_of(document: ImageDoc) -> int:
    """Bytes of what is decoded or embedded."""
    return len(document.blob or b"") + (document.tensor.nbytes if document.tensor is not None else 0)


def by_collection(documents: Sequence[ImageDoc]) -> list[list[int]]:
    """The positions of the documents of each collection."""
    groups: dict[str, list[int]] = {}
    for position, document in enumerate(documents):
        groups.setdefault(collection_of(document), []).append(position)
    return list(groups.values())


def add_up(took_ms: dict[str, float], more: Mapping[str, float]) -> None:
    """Add the durations of one more message, stage by stage, in milliseconds."""
    for stage, duration in more.items():
        took_ms[stage] = round(took_ms.get(stage, 0.0) + duration, 2)


def counted(answer: Answer) -> Answer:
    """The account of the whole request: as good as that of its worst document."""
    with_account = [each for each in answer.documents if each.shards_total]
    answer.shards_total = max((each.shards_total or 0 for each in with_account), default=0)
    answer.shards_answered = min((each.shards_answered or 0 for each in with_account), default=0)
    return answer
