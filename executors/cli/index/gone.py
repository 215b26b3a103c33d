"""What a folder brought into the index and no longer has: found by the journal, removed only where it is still ours."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from executors.cli.index.absent_ids import IDS_A_REQUEST, found_documents
from executors.cli.index.files import Scan, mode_of
from executors.cli.journal import JournalScope, Sent
from executors.client import VisualSearchClient


@dataclass(frozen=True, slots=True)
class GoneFile:
    """A document of the index whose file is no longer in its folder under this id."""

    folder: str
    scope: JournalScope
    sent: Sent

    @property
    def path(self) -> str:
        """Where the file was."""
        return f"{self.folder.rstrip('/')}/{self.sent.name}"


@dataclass(slots=True)
class Gone:
    """What is gone from the folders of a run.

    Attributes:
        files: those that are gone.
        renamed: those that are there, and were sent anew with another --id-prefix: the index has them twice.
        doubtful: those whose folder is empty, or of which none is left: so it is when a disk is not mounted, or another one.
    """

    files: list[GoneFile] = field(default_factory=list)
    renamed: list[GoneFile] = field(default_factory=list)
    doubtful: list[GoneFile] = field(default_factory=list)


@dataclass(slots=True)
class Pruned:
    """What became of documents that were to be removed; of `kept` ones the index holds what somebody else wrote.

    `journal_error` says why it could not be remembered, if it could not: a later run finds that they are removed.
    """

    removed: list[GoneFile] = field(default_factory=list)
    kept: list[GoneFile] = field(default_factory=list)
    descendants: int = 0
    journal_error: str | None = None


def emptied_folders(scan: Scan, scopes: Mapping[str, JournalScope]) -> set[str]:
    """The folders of which nothing is left that they brought: to be looked for before they bring anything else."""
    return {folder for folder in scan.folders if folder in scopes and _is_emptied(folder, scan, scopes[folder])}


def find_gone(scan: Scan, scopes: Mapping[str, JournalScope], emptied: Set[str]) -> Gone:
    """Compare what was acknowledged of the folders with what is there.

    Gone is only what the system says is not there: what can't be read, and what is left out, is.
    """
    gone = Gone()
    there = _names(scan)
    for folder in scan.folders:
        if (scope := scopes.get(folder)) is None:
            continue
        for sent in scope.all():
            if (folder, sent.name) in there or not _is_gone(folder, sent.name):
                continue
            if not _has_another_file(scope, folder, sent):
                doubtful = folder in emptied or _stands_in_an_empty_folder(folder, sent.name)
                (gone.doubtful if doubtful else gone.files).append(GoneFile(folder, scope, sent))
        gone.renamed += _renamed(folder, scope)
    return gone


async def prune(client: VisualSearchClient, files: Sequence[GoneFile], collection: str | None) -> Pruned:
    """Remove documents, and what came from them, where the index holds what was acknowledged; forget the files.

    Raises:
        VisualSearchError: the service does not answer; the next run goes on.
    """
    pruned = Pruned()
    for start in range(0, len(files), IDS_A_REQUEST):
        batch = files[start : start + IDS_A_REQUEST]
        found = await found_documents(client, [each.sent.document_id for each in batch], collection)
        ours = [
            each
            for each in batch
            if (document := found.get(each.sent.document_id)) is not None and each.sent.stands(document.version)
        ]
        ids = list(dict.fromkeys(each.sent.document_id for each in ours))
        for result in await client.delete(ids, collection=collection) if ids else ():
            if result.error is not None and result.error.code != "not_found":
                raise result.error
            pruned.descendants += result.descendants
        pruned.removed += ours
        pruned.kept += [each for each in batch if each.sent.document_id in found and each not in ours]
        try:
            for each in batch:
                each.scope.forget([each.sent.name])
        except sqlite3.Error as error:
            pruned.journal_error = str(error)
    return pruned


def _names(scan: Scan) -> set[tuple[str, str]]:
    return {(file.folder, file.name) for file in (*scan.files, *(file for file, _ in scan.faults))}


def _is_emptied(folder: str, scan: Scan, scope: JournalScope) -> bool:
    there, known = _names(scan), 0
    for sent in scope.all():
        known += 1
        if (folder, sent.name) in there or not _is_gone(folder, sent.name):
            return False
    # Of a single file it may well be that it has another name now.
    return known > 1 or not any(each == folder for each, _ in there)


def _is_gone(folder: str, name: str) -> bool:
    try:
        os.lstat(f"{folder}/{name}")
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _has_another_file(scope: JournalScope, folder: str, sent: Sent) -> bool:
    """Whether the document is also that of a file that is there: a renamed or moved one."""
    for claim in scope.claims(sent.document_id):
        is_itself = (claim.folder, claim.sent.name) == (folder, sent.name)
        if not is_itself and claim.sent.version == sent.version and not _is_gone(claim.folder, claim.sent.name):
            return True
    return False


def _stands_in_an_empty_folder(folder: str, name: str) -> bool:
    """Whether the nearest folder that is still there holds nothing: an empty one may be where a disk was mounted."""
    parent = Path(folder, name).parent
    while not stat.S_ISDIR(mode_of(parent)) and parent != Path(folder):
        parent = parent.parent
    try:
        return not any(parent.iterdir())
    except OSError:
        return True


def _renamed(folder: str, scope: JournalScope) -> Iterator[GoneFile]:
    for sibling in scope.siblings():
        for sent in sibling.all():
            newer = scope.find(sent.name)
            if newer is not None and newer.document_id != sent.document_id:
                yield GoneFile(folder, sibling, sent)
