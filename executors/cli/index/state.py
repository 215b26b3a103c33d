"""The options and results of a run of `index`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from executors.cli.index.files import PictureFile
from executors.cli.index.loading import IdMode, Shrink
from executors.errors import VisualSearchError


@dataclass(frozen=True, slots=True)
class FileResult:
    """The result of one file: created, replaced, unchanged, skipped or failed.

    `skipped` means that it was acknowledged before and is in the index, possibly as another file with the same content.
    """

    file: PictureFile
    id: str
    result: str
    error: VisualSearchError | None = None


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """The options for sending files.

    Attributes:
        collection: the collection; None for the default one.
        tags: the tags of every file.
        id_mode: whether the id is the relative path or the digest of the content.
        shrink: makes a picture smaller; None to send the files as they are.
        requests: maximum number of requests in flight.
        resume: skip files that were acknowledged before, if the index still has them.
        id_prefix: text before the path in each id.
        replace: replace other pictures that have the same ids.
    """

    collection: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    id_mode: IdMode = "path"
    shrink: Shrink | None = None
    requests: int = 4
    resume: bool = True
    id_prefix: str = ""
    replace: bool = False


@dataclass(slots=True)
class IndexOutcome:
    """The outcome of a run.

    Attributes:
        counts: how many files there are of each result.
        failures: the files that failed.
        unsent: how many files were not sent, or have no known result, because the run ended early.
        service_error: the error of the service that ended the run, if there was one.
        journal_error: why the journal failed, if it did.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[FileResult] = field(default_factory=list)
    unsent: int = 0
    service_error: VisualSearchError | None = None
    journal_error: str | None = None
