"""Finds documents whose files are gone from their folder, by the journal, and removes those that are still ours."""

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
    """A document whose file is no longer in its folder, or has another id now."""

    folder: str
    scope: JournalScope
    sent: Sent

    @property
    def path(self) -> str:
        """The path that the file had."""
        return f"{self.folder.rstrip('/')}/{self.sent.name}"


@dataclass(slots=True)
class Gone:
    """The documents whose files are gone from the folders of a run.

    Attributes:
        files: the files that are gone.
        renamed: files that exist and were sent again with another --id-prefix, so that the index has them twice.
        doubtful: files that may be back: their folder is empty, or all its files are gone. A disk may not be mounted.
    """

    files: list[GoneFile] = field(default_factory=list)
    renamed: list[GoneFile] = field(default_factory=list)
    doubtful: list[GoneFile] = field(default_factory=list)


@dataclass(slots=True)
class Pruned:
    """The outcome of removing documents; `kept` are those that another client has written since.

    `journal_error` says why the journal could not be written, if it could not; a later run notices that they are gone.
    """

    removed: list[GoneFile] = field(default_factory=list)
    kept: list[GoneFile] = field(default_factory=list)
    descendants: int = 0
    journal_error: str | None = None


def emptied_folders(scan: Scan, scopes: Mapping[str, JournalScope]) -> set[str]:
    """The folders that hold none of the files that they brought. To be called before the run records new files."""
    return {folder for folder in scan.folders if folder in scopes and _is_emptied(folder, scan, scopes[folder])}


def find_gone(scan: Scan, scopes: Mapping[str, JournalScope], emptied: Set[str]) -> Gone:
    """Compare the acknowledged files of the folders with the files that exist.

    A file is gone only if the system says that it does not exist, not if it can't be read or is left out.
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
    """Delete documents, with those that came from them, if they are as they were acknowledged; forget their files.

    Raises:
        VisualSearchError: the service does not answer; the next run continues.
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
    # A single missing file has most likely been renamed or deleted.
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
    """Whether the document also belongs to a file that exists: the file was renamed or moved."""
    for claim in scope.claims(sent.document_id):
        is_itself = (claim.folder, claim.sent.name) == (folder, sent.name)
        if not is_itself and claim.sent.version == sent.version and not _is_gone(claim.folder, claim.sent.name):
            return True
    return False


def _stands_in_an_empty_folder(folder: str, name: str) -> bool:
    """Whether the nearest existing folder is empty; if so, it may be the mount point of a disk."""
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
