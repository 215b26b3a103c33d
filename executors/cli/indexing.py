"""Sends files to the index: many requests in flight, every acknowledgement recorded, every failure told."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from executors.cli.exit_status import is_unavailable
from executors.cli.files import PictureFile, check_id, in_groups, unreadable
from executors.cli.journal import JournalScope, Sent, tags_digest
from executors.client import Document, VisualSearchClient
from executors.errors import VisualSearchError

GROUP_FILES: Final = 16
# Read at a time for one request, and sent in one request.
GROUP_BYTES: Final = 64_000_000
REQUEST_BYTES: Final = 16_000_000
# Larger files are not pictures that any service takes; they would only fill the memory.
MAX_FILE_BYTES: Final = 250_000_000
# So many documents in a row without an answer mean that the service, not a document, is at fault.
_MAX_DEADLINES: Final = 3

IdMode: TypeAlias = Literal["path", "sha256"]
Shrink: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file: `result` is created, replaced, unchanged, skipped (acknowledged before) or failed."""

    file: PictureFile
    id: str
    result: str
    error: VisualSearchError | None = None


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How files are sent.

    Attributes:
        collection: None for the service's default one.
        tags: of every file.
        id_mode: whether the relative path or the content names a document.
        shrink: makes a picture smaller; None to send the files as they are.
        requests: in flight at a time.
        resume: leave out what the journal says was acknowledged.
    """

    collection: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    id_mode: IdMode = "path"
    shrink: Shrink | None = None
    requests: int = 4
    resume: bool = True


@dataclass(slots=True)
class IndexOutcome:
    """What became of a run.

    Attributes:
        counts: files by result.
        failures: those that failed.
        unsent: files whose fate is unknown or that were not sent at all, because the run ended early.
        service_error: why the service ended the run, if it did.
        journal_error: why acknowledgements could not be remembered, if they could not.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[FileResult] = field(default_factory=list)
    unsent: int = 0
    service_error: VisualSearchError | None = None
    journal_error: str | None = None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file that was read: its bytes as they are to be sent, and how it was when it was read."""

    file: PictureFile
    id: str
    blob: bytes
    size: int
    mtime_ns: int


class FileSender:
    """Sends the files of one run.

    Args:
        client: of the service.
        options: how to send.
        scopes: the journal of each folder; none for a run that remembers nothing.
        on_result: told of each file as soon as its fate is known.
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
        self._scopes = scopes
        self._on_result = on_result
        self._tags = tags_digest(options.tags)
        self._ids: set[str] = set()
        self._deadlines = 0
        self._threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)), "load")
        self.outcome = IndexOutcome()

    async def send(self, files: Sequence[PictureFile], stop: asyncio.Event, *, grace_s: float = 10.0) -> IndexOutcome:
        """Send files until all are done, `stop` is set, or the service is gone.

        What is in flight when `stop` is set has `grace_s` seconds to be acknowledged.
        """
        pending = [file for file in files if not self._is_acknowledged(file)]
        groups = in_groups(pending, GROUP_FILES, GROUP_BYTES)
        done = self._reported() + len(pending)
        workers = [asyncio.create_task(self._work(groups, stop)) for _ in range(self._options.requests)]
        stopping = asyncio.create_task(stop.wait())
        everything = asyncio.gather(*workers, return_exceptions=True)
        try:
            await asyncio.wait((everything, stopping), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait((everything,), timeout=grace_s)
        finally:
            for task in (*workers, stopping):
                task.cancel()
            await asyncio.wait((everything, stopping))
            self._threads.shutdown(wait=False, cancel_futures=True)
        for defect in everything.result():
            if isinstance(defect, Exception):
                raise defect
        self.outcome.unsent = done - self._reported()
        return self.outcome

    def _reported(self) -> int:
        return sum(self.outcome.counts.values())

    def report(self, file: PictureFile, document_id: str, result: str, error: VisualSearchError | None = None) -> None:
        """Count and tell what became of a file."""
        reported = FileResult(file, document_id, result, error)
        self.outcome.counts[result] += 1
        if error is not None:
            self.outcome.failures.append(reported)
        self._on_result(reported)

    def _is_acknowledged(self, file: PictureFile) -> bool:
        scope = self._scopes.get(file.folder) if self._options.resume else None
        sent = scope.find(file.name) if scope else None
        if sent is None or (sent.size, sent.mtime_ns, sent.tags) != (file.size, file.mtime_ns, self._tags):
            return False
        self._ids.add(sent.document_id)
        self.report(file, sent.document_id, "skipped")
        return True

    async def _work(self, groups: Iterator[list[PictureFile]], stop: asyncio.Event) -> None:
        try:
            await self._send_groups(groups, stop)
        except VisualSearchError as error:
            self.outcome.service_error = self.outcome.service_error or error
            stop.set()
        except Exception:
            stop.set()
            raise

    async def _send_groups(self, groups: Iterator[list[PictureFile]], stop: asyncio.Event) -> None:
        for group in groups:
            if stop.is_set():
                return
            for request in _requests(await self._load(group)):
                if stop.is_set():
                    return
                await self._send(request)

    async def _load(self, group: Sequence[PictureFile]) -> list[_Loaded]:
        """Read files beside each other; those that can't be sent are reported, not returned."""
        loop = asyncio.get_running_loop()
        answers = await asyncio.gather(
            *(loop.run_in_executor(self._threads, _load, file, self._options) for file in group)
        )
        loaded = []
        for file, answer in zip(group, answers, strict=True):
            if isinstance(answer, VisualSearchError):
                self.report(file, file.name, "failed", answer)
            elif self._is_double(answer):
                self.report(file, answer.id, "skipped")
            else:
                self._ids.add(answer.id)
                loaded.append(answer)
        return loaded

    def _is_double(self, loaded: _Loaded) -> bool:
        """With --id sha256: whether another file, of this run or of one before, has the same content."""
        if loaded.id in self._ids:
            return True
        scope = self._scopes.get(loaded.file.folder) if self._options.resume else None
        if self._options.id_mode == "path" or scope is None or not scope.holds_id(loaded.id, self._tags):
            return False
        self._ids.add(loaded.id)
        self._record([loaded])
        return True

    async def _send(self, files: Sequence[_Loaded]) -> None:
        """Send one request; when it is refused as a whole, its halves, until the file at fault is alone.

        Raises:
            VisualSearchError: the service is gone or refuses to work.
        """
        documents = [
            Document(id=each.id, uri=_label(each.file.name), blob=each.blob, tags=self._options.tags) for each in files
        ]
        try:
            answer = await self._client.index(documents, collection=self._options.collection)
        except VisualSearchError as error:
            await self._send_less(files, error)
            return
        self._deadlines = 0
        acknowledged = [each for each, result in zip(files, answer, strict=True) if result.error is None]
        self._record(acknowledged)
        for each, result in zip(files, answer, strict=True):
            self.report(each.file, each.id, "failed" if result.error else str(result.result), result.error)

    async def _send_less(self, files: Sequence[_Loaded], error: VisualSearchError) -> None:
        """After a request was refused as a whole: send its halves, or each file alone when it took too long."""
        late = error.code == "deadline_exceeded"
        if is_unavailable(error) and not late:
            raise error
        if len(files) == 1:
            self._deadlines += late
            if self._deadlines > _MAX_DEADLINES:
                raise error
            self.report(files[0].file, files[0].id, "failed", error)
            return
        step = 1 if late else -(-len(files) // 2)
        for start in range(0, len(files), step):
            await self._send(files[start : start + step])

    def _record(self, files: Sequence[_Loaded]) -> None:
        by_folder: dict[str, list[Sent]] = {}
        for each in files:
            sent = Sent(each.file.name, each.size, each.mtime_ns, self._tags, each.id)
            by_folder.setdefault(each.file.folder, []).append(sent)
        try:
            for folder, sent_files in by_folder.items():
                if scope := self._scopes.get(folder):
                    scope.record(sent_files)
        except sqlite3.Error as error:
            # The documents are safe in the index; they are only sent once more by the next run.
            self.outcome.journal_error = str(error)
            self._scopes = {}


def _load(file: PictureFile, options: IndexOptions) -> _Loaded | VisualSearchError:
    """Read a file, name it, and make it smaller; runs in a thread."""
    try:
        if options.id_mode == "path":
            check_id(file.name)
        with Path(file.path).open("rb") as stream:
            found = os.fstat(stream.fileno())
            if found.st_size > MAX_FILE_BYTES:
                return VisualSearchError(
                    "image_too_large",
                    f"the file has {found.st_size} bytes; at most {MAX_FILE_BYTES} are read",
                    bytes=found.st_size,
                    limit=MAX_FILE_BYTES,
                )
            blob = stream.read()
    except OSError as error:
        return unreadable(error)
    except VisualSearchError as error:
        return error
    document_id = file.name if options.id_mode == "path" else hashlib.sha256(blob).hexdigest()
    if options.shrink is not None:
        blob = options.shrink(blob)
    return _Loaded(file, document_id, blob, found.st_size, found.st_mtime_ns)


def _requests(loaded: Sequence[_Loaded]) -> Iterator[list[_Loaded]]:
    """Cut what was read into requests by their bytes."""
    request: list[_Loaded] = []
    size = 0
    for each in loaded:
        if request and size + len(each.blob) > REQUEST_BYTES:
            yield request
            request, size = [], 0
        request.append(each)
        size += len(each.blob)
    if request:
        yield request


def _label(name: str) -> str:
    """A file's name as text that can be sent, whatever its bytes are."""
    return name.encode("utf-8", "backslashreplace").decode()
