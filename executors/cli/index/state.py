"""How `index` sends, and what became of the files."""

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
    """What became of one file: `result` is created, replaced, unchanged, skipped or failed.

    Skipped is what was acknowledged before and is in the index, be it as another file of the same content.
    """

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
        resume: leave out what the journal says was acknowledged, where the index still has it.
        id_prefix: stands before the path in each id.
        replace: put files in the place of other pictures that have their ids.
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
