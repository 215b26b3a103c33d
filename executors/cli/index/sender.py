"""Sends files to the index, with several requests in flight, and records every acknowledgement."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

from executors.cli.exit_status import is_unavailable
from executors.cli.index.absent_ids import IDS_A_REQUEST, found_documents
from executors.cli.index.files import PictureFile, in_groups
from executors.cli.index.id_guard import IdGuard
from executors.cli.index.loading import LoadedFile, in_requests, label_of, load_file
from executors.cli.index.ownership import id_taken
from executors.cli.index.run_journal import IndexJournal
from executors.cli.index.state import FileResult, IndexOptions, IndexOutcome
from executors.cli.journal import Claim, JournalScope, Sent
from executors.client import Document, VisualSearchClient
from executors.errors import VisualSearchError

GROUP_FILES: Final = 16
# Maximum size of the files that are read together.
GROUP_BYTES: Final = 64_000_000
# If so many documents in a row get no answer, the service is the cause, not the documents.
_MAX_DEADLINES: Final = 3


class FileSender:
    """Sends the files of one run.

    Args:
        client: the client of the service.
        options: how to send.
        scopes: the journal of each folder; empty for a run without a journal.
        on_result: called with the result of each file as soon as it is known.
    """

    def __init__(
        self,
        client: VisualSearchClient,
        options: IndexOptions,
        scopes: Mapping[str, JournalScope],
        on_result: Callable[[FileResult], None],
    ) -> None:
        self._client = client
        self._options = options
        self._journal = IndexJournal(scopes, options.tags)
        self._guard = IdGuard(client, options, self._journal)
        self._on_result = on_result
        # Ids of documents that are in the index; that are not, although the journal says so; that failed in this run; and
        # that are being sent, each with the files of the same content that wait for its result.
        self._present: set[str] = set()
        self._absent: set[str] = set()
        self._failed: dict[str, VisualSearchError] = {}
        self._doubles: dict[str, list[LoadedFile]] = {}
        # By id, the content of the first file that has it; a file with the same id and content is its double.
        self._digests: dict[str, str] = {}
        # Versions of the documents in the index, for the files of the same content.
        self._versions: dict[str, str] = {}
        self._deadlines = 0
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "load")
        self.outcome = IndexOutcome()

    async def send(self, files: Sequence[PictureFile], stop: asyncio.Event, *, grace_s: float = 10.0) -> IndexOutcome:
        """Send files until all are done, `stop` is set, or the service stops answering.

        When `stop` is set, requests in flight have `grace_s` seconds to be acknowledged.
        """
        expected = self._reported() + len(files)
        running = asyncio.create_task(self._run(files, stop))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((running,), timeout=grace_s)
        finally:
            running.cancel()
            stopping.cancel()
            await asyncio.wait((running, stopping))
            self._threads.shutdown(wait=False, cancel_futures=True)
        if not running.cancelled():
            running.result()
        self.outcome.unsent = expected - self._reported()
        self.outcome.journal_error = self._journal.error
        return self.outcome

    async def _run(self, files: Sequence[PictureFile], stop: asyncio.Event) -> None:
        pending: list[PictureFile] = []
        known: list[tuple[PictureFile, Sent]] = []
        for file in files:
            sent = self._journal.acknowledged(file) if self._options.resume else None
            if sent is None:
                pending.append(file)
            else:
                known.append((file, sent))
        batches = (known[start : start + IDS_A_REQUEST] for start in range(0, len(known), IDS_A_REQUEST))
        await self._beside(lambda: self._skip_present(batches, pending, stop), stop)
        if pending:
            await self._until_stopped(self._guard.look, stop)
        groups = in_groups(pending, GROUP_FILES, GROUP_BYTES)
        await self._beside(lambda: self._send_groups(groups, stop), stop)

    async def _beside(self, work: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
        """Run the same work in parallel, as many times as requests may be in flight."""
        workers = (self._until_stopped(work, stop) for _ in range(self._options.requests))
        for defect in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(defect, Exception):
                raise defect

    def _reported(self) -> int:
        return sum(self.outcome.counts.values())

    def report(self, file: PictureFile, document_id: str, result: str, error: VisualSearchError | None = None) -> None:
        """Count and report the result of a file."""
        reported = FileResult(file, document_id, result, error)
        self.outcome.counts[result] += 1
        if error is not None:
            self.outcome.failures.append(reported)
        self._on_result(reported)

    async def _skip_present(
        self, batches: Iterator[list[tuple[PictureFile, Sent]]], pending: list[PictureFile], stop: asyncio.Event
    ) -> None:
        """Report files as skipped if the index still has the acknowledged version; add the others to `pending`."""
        for batch in batches:
            if stop.is_set():
                return
            ids = {sent.document_id for _, sent in batch}
            found = await found_documents(self._client, ids, self._options.collection)
            self._absent |= ids - found.keys()
            seen: list[tuple[str, Sent]] = []
            for file, sent in batch:
                document = found.get(sent.document_id)
                if document is None or not sent.has_picture_of(document.version):
                    pending.append(file)
                    continue
                version = str(document.version) if sent.stands(document.version) else sent.version
                self._present.add(sent.document_id)
                self._digests[sent.document_id] = sent.digest
                self._versions[sent.document_id] = version
                if version != sent.version:
                    seen.append((file.folder, replace(sent, version=version)))
                self.report(file, sent.document_id, "skipped")
            self._journal.remember(seen)

    async def _until_stopped(self, work: Callable[[], Coroutine[Any, Any, None]], stop: asyncio.Event) -> None:
        try:
            await work()
        except VisualSearchError as error:
            self.outcome.service_error = self.outcome.service_error or error
            stop.set()
        except Exception:
            # A defect: the other tasks end too, and it is raised where the run is awaited.
            stop.set()
            raise

    async def _send_groups(self, groups: Iterator[list[PictureFile]], stop: asyncio.Event) -> None:
        for group in groups:
            if stop.is_set():
                return
            loaded = await self._load(group)
            try:
                for request in in_requests(await self._own(loaded)):
                    if stop.is_set():
                        return
                    await self._send(request)
            finally:
                self._guard.release(loaded)

    async def _load(self, group: Sequence[PictureFile]) -> list[LoadedFile]:
        """Read files in parallel; report those that can't be sent, and return the others."""
        loop, options = asyncio.get_running_loop(), self._options
        answers = await asyncio.gather(
            *(
                loop.run_in_executor(self._threads, load_file, file, options.id_mode, options.shrink, options.id_prefix)
                for file in group
            )
        )
        await self._ask_for(self._held_ids([answer for answer in answers if isinstance(answer, LoadedFile)]))
        loaded = []
        for file, answer in zip(group, answers, strict=True):
            if isinstance(answer, VisualSearchError):
                self.report(file, options.id_prefix + file.name, "failed", answer)
            elif self._has_the_id_of_another(answer):
                self.report(file, answer.id, "failed", id_taken(None))
            elif answer.id in self._doubles:
                # It waits for the result of the file that is being sent; its bytes are not needed.
                self._doubles[answer.id].append(replace(answer, blob=b""))
            elif answer.id in self._present or answer.id in self._failed:
                self._settle_double(answer)
            else:
                self._doubles[answer.id] = []
                loaded.append(answer)
        return loaded

    def _has_the_id_of_another(self, loaded: LoadedFile) -> bool:
        """Whether a file with another content has the same id in this run."""
        is_by_content = self._options.id_mode == "sha256"
        return not is_by_content and self._digests.setdefault(loaded.id, loaded.digest) != loaded.digest

    def _held_ids(self, loaded: Sequence[LoadedFile]) -> list[tuple[str, list[Claim]]]:
        """With --id sha256: contents that an earlier run sent under other names, of which the index was not asked yet."""
        if self._options.id_mode == "path" or not self._options.resume:
            return []
        known = (self._present, self._absent, self._failed, self._doubles)
        asked = ((each.id, self._journal.claims(each)) for each in loaded if not any(each.id in ids for ids in known))
        return [
            (document_id, claims)
            for document_id, claims in asked
            if any(self._journal.with_these_tags(claim.sent) for claim in claims)
        ]

    async def _ask_for(self, held: Sequence[tuple[str, list[Claim]]]) -> None:
        found = await found_documents(self._client, (each for each, _ in held), self._options.collection)
        for document_id, claims in held:
            document = found.get(document_id)
            if document is None:
                self._absent.add(document_id)
            elif any(claim.sent.stands(document.version) for claim in claims):
                self._present.add(document_id)
                self._versions[document_id] = document.version or ""

    async def _own(self, loaded: Sequence[LoadedFile]) -> list[LoadedFile]:
        """Return the files to send; report the results of the others."""
        sorted_files = await self._guard.sort(loaded)
        for each, error in sorted_files.refused:
            self._settle(each, "failed", error)
        self._record(sorted_files.held)
        for each, _ in sorted_files.held:
            self._settle(each, "skipped")
        return sorted_files.to_send

    def _settle(self, loaded: LoadedFile, result: str, error: VisualSearchError | None = None) -> None:
        """Report the result of a file that was sent, and of its doubles."""
        self.report(loaded.file, loaded.id, result, error)
        if error is None:
            self._present.add(loaded.id)
        else:
            self._failed[loaded.id] = error
        for double in self._doubles.pop(loaded.id):
            self._settle_double(double)

    def _settle_double(self, double: LoadedFile) -> None:
        """Report a file whose content was sent as part of another file."""
        error = self._failed.get(double.id)
        if error is None:
            self._record([(double, self._versions.get(double.id, ""))])
        self.report(double.file, double.id, "skipped" if error is None else "failed", error)

    async def _send(self, files: Sequence[LoadedFile]) -> None:
        """Send one request. If it is refused as a whole, send each half, until the bad file is alone.

        Raises:
            VisualSearchError: the service does not answer or refuses to work.
        """
        documents = [
            Document(id=each.id, uri=label_of(each.file.name), blob=each.blob, tags=self._options.tags)
            for each in files
        ]
        try:
            answer = await self._client.index(documents, collection=self._options.collection)
        except VisualSearchError as error:
            await self._send_less(files, error)
            return
        self._deadlines = 0
        acknowledged = [
            (each, result.version or "") for each, result in zip(files, answer, strict=True) if result.error is None
        ]
        self._record(acknowledged)
        for each, result in zip(files, answer, strict=True):
            if result.result == "replaced":
                self._guard.note_replaced()
            self._settle(each, "failed" if result.error else str(result.result), result.error)

    async def _send_less(self, files: Sequence[LoadedFile], error: VisualSearchError) -> None:
        """Send the halves of a refused request, or each file alone if the request took too long."""
        late = error.code == "deadline_exceeded"
        if is_unavailable(error) and not late:
            raise error
        if len(files) == 1:
            self._deadlines += late
            if self._deadlines > _MAX_DEADLINES:
                raise error
            self._settle(files[0], "failed", error)
            return
        step = 1 if late else -(-len(files) // 2)
        for start in range(0, len(files), step):
            await self._send(files[start : start + step])

    def _record(self, files: Sequence[tuple[LoadedFile, str]]) -> None:
        self._versions |= {each.id: version for each, version in files}
        self._journal.record(files)
