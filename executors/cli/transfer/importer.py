"""Sends the documents of an import, with several requests in flight, and keeps the place to continue from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from executors.cli.exit_status import is_unavailable
from executors.cli.terminal.daemon_thread import in_daemon_thread
from executors.cli.transfer.format import Header
from executors.cli.transfer.import_reader import Chunk, LineDocument, LineFault
from executors.cli.transfer.import_state import MAX_FAILURES, ImportState, LineResult, Tally
from executors.client import DEFAULT_COLLECTION, Document, RetryPolicy, VisualSearchClient
from executors.errors import VisualSearchError
from executors.files.reading import unreadable

# How often documents are sent if the service says that it is the cause of their errors.
_ATTEMPTS: Final = 5


class StateKeeper(Protocol):
    """Stores how far an import is."""

    def keep(self, state: ImportState) -> None:
        """Store a state, soon or at once."""


class DocumentSender:
    """Sends the documents of one run.

    Args:
        client: the client of the service.
        collection: the collection for all documents; None if each keeps its own.
        source: with `collection`, the collection that the documents come from, if it is known yet.
        requests: maximum number of requests in flight.
        state: where to begin, with the results of the lines before; it is updated.
        keeper: stores `state` after every step.
        on_result: called with the result of each line as soon as it is known.
    """

    def __init__(
        self,
        client: VisualSearchClient,
        *,
        collection: str | None,
        source: str | None = None,
        requests: int = 4,
        state: ImportState,
        keeper: StateKeeper,
        on_result: Callable[[LineResult], None],
    ) -> None:
        self._client = client
        self._collection = collection
        self._requests = requests
        self._keeper = keeper
        self._on_result = on_result
        self._source = source
        # Chunks with results that come after a chunk without, by number, each with its tally.
        self._settled: dict[int, tuple[Chunk, Tally]] = {}
        self._first_unsettled = 0
        self.state = state
        self.tally = Tally()
        self.tally.add(state.tally)
        self.finished = False
        self.error: VisualSearchError | None = None

    async def send(self, chunks: Iterator[Chunk], stop: asyncio.Event, *, grace_s: float = 10.0) -> None:
        """Send until all is done, `stop` is set, or an error ends it (`error`).

        Requests in flight then have `grace_s` seconds to be acknowledged.
        """
        tasks: dict[asyncio.Task[None], Chunk] = {}
        stopping = asyncio.create_task(stop.wait())
        try:
            try:
                self.finished = await self._send_all(chunks, tasks, stop, stopping)
            except VisualSearchError as error:
                self.error = self.error or error
            except OSError as error:
                self.error = self.error or unreadable(error)
            if tasks:
                await asyncio.wait(tasks, timeout=grace_s)
        finally:
            for task in (*tasks, stopping):
                task.cancel()
            endings = await asyncio.gather(*tasks, stopping, return_exceptions=True)
        for ending in endings:
            if isinstance(ending, Exception):
                raise ending
        self.finished = self.finished and self.error is None and not self._settled

    async def _send_all(
        self,
        chunks: Iterator[Chunk],
        tasks: dict[asyncio.Task[None], Chunk],
        stop: asyncio.Event,
        stopping: asyncio.Task[Any],
    ) -> bool:
        """Give every chunk to a task; return whether all were read."""
        number = 0
        while not stop.is_set():
            reading = asyncio.ensure_future(in_daemon_thread(lambda: next(chunks, None)))
            await asyncio.wait((reading, stopping), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                reading.cancel()
                return False
            chunk = reading.result()
            if chunk is None:
                return True
            if chunk.header is not None:
                await self.create_collections(chunk.header)
            self._refuse_other_sources(chunk)
            # If two lines have the same id, the later line must be the later write.
            while len(tasks) >= self._requests or any(chunk.keys & other.keys for other in tasks.values()):
                done, _ = await asyncio.wait((*tasks, stopping), return_when=asyncio.FIRST_COMPLETED)
                for task in [each for each in tasks if each in done]:
                    tasks.pop(task)
                    task.result()
                if stop.is_set():
                    return False
            tasks[asyncio.create_task(self._send_chunk(number, chunk, stop))] = chunk
            number += 1
        return False

    async def create_collections(self, header: Header) -> None:
        """Create the collections of a header, each bound to its model.

        Raises:
            VisualSearchError: `model_mismatch` or `dimension_mismatch` if one exists with another model or dimension;
                `invalid_parameter` if there are several, but `collection` names one for all documents.
        """
        if self._collection is not None and len(header.collections) > 1:
            names = ", ".join(each.name for each in header.collections)
            raise VisualSearchError(
                "invalid_parameter", f"the file has several collections ({names}), but --collection can rename only one"
            )
        for each in header.collections:
            self._source = self._source or each.name
            await self._client.create_collection(
                self._collection or each.name, model_id=each.model_id, dimension=each.dimension
            )

    def _refuse_other_sources(self, chunk: Chunk) -> None:
        """With `collection`, refuse documents that come from a second collection: their ids may be the same."""
        if self._collection is None:
            return
        kept = []
        for each in chunk.documents:
            name = each.document.collection or DEFAULT_COLLECTION
            self._source = self._source or name
            if name == self._source:
                kept.append(each)
            else:
                error = VisualSearchError(
                    "invalid_document", f"it is of the collection {name!r}, but --collection renames {self._source!r}"
                )
                chunk.faults.append(LineFault(each.line, error))
        chunk.documents = kept

    async def _send_chunk(self, number: int, chunk: Chunk, stop: asyncio.Event) -> None:
        tally = Tally()
        for fault in chunk.faults:
            self._tell(tally, LineResult(fault.line, "", "", "failed", fault.error))
        try:
            await self._send_documents([self._placed(each) for each in chunk.documents], tally)
        except VisualSearchError as error:
            self.error = self.error or error
            stop.set()
        except BaseException:
            # A defect, or the end of the run: the other tasks end too, and it is raised where the run is awaited.
            stop.set()
            raise
        else:
            self._settle(number, chunk, tally)

    def _placed(self, given: LineDocument) -> LineDocument:
        name = self._collection or given.document.collection or DEFAULT_COLLECTION
        return replace(given, document=replace(given.document, collection=name))

    def _settle(self, number: int, chunk: Chunk, tally: Tally) -> None:
        """Move `state.place` forward over all chunks that have results."""
        self._settled[number] = (chunk, tally)
        state = self.state
        while (settled := self._settled.pop(self._first_unsettled, None)) is not None:
            self._first_unsettled += 1
            done, its_tally = settled
            state.place = done.end
            state.tally.add(its_tally)
            failed = {failure.line for failure in its_tally.failures}
            for each in done.documents:
                if each.line not in failed:
                    state.last = (self._placed(each).document.collection or "", str(each.document.id))
        self._keeper.keep(state)

    def _tell(self, tally: Tally, result: LineResult) -> None:
        for each in (tally, self.tally):
            each.counts[result.result] += 1
            if result.error is not None:
                each.codes[result.error.code] += 1
                if len(each.failures) < MAX_FAILURES:
                    each.failures.append(result)
        self._on_result(result)

    async def _send_documents(self, documents: Sequence[LineDocument], tally: Tally) -> None:
        """Send documents in one request; send those again whose error was caused by the service.

        Raises:
            VisualSearchError: the service does not answer or refuses to work.
        """
        pending = list(documents)
        for attempt in range(_ATTEMPTS):
            if not pending:
                return
            try:
                answer = await self._client.index([each.document for each in pending])
            except VisualSearchError as error:
                await self._send_less(pending, error, tally)
                return
            again: list[LineDocument] = []
            fault: VisualSearchError | None = None
            for each, written in zip(pending, answer, strict=True):
                if written.error is not None and is_unavailable(written.error):
                    again.append(each)
                    fault = written.error
                else:
                    self._tell(tally, _result_of(each, str(written.result), written.error))
            pending = again
            if fault is not None:
                if attempt + 1 == _ATTEMPTS:
                    raise fault
                await asyncio.sleep(RetryPolicy().pause(attempt))

    async def _send_less(self, documents: Sequence[LineDocument], error: VisualSearchError, tally: Tally) -> None:
        """Send the halves of a refused request, until the bad document is alone."""
        late = error.code == "deadline_exceeded"
        if (is_unavailable(error) and not late) or (late and len(documents) == 1):
            raise error
        if len(documents) == 1:
            self._tell(tally, _result_of(documents[0], "failed", error))
            return
        half = len(documents) // 2
        await self._send_documents(documents[:half], tally)
        await self._send_documents(documents[half:], tally)


def _result_of(document: LineDocument, result: str, error: VisualSearchError | None) -> LineResult:
    sent: Document = document.document
    return LineResult(document.line, str(sent.id), str(sent.collection), "failed" if error else result, error)
