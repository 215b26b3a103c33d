"""The journal as one run of `index` uses it, for all its folders."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from executors.cli.index.files import PictureFile
from executors.cli.index.loading import LoadedFile
from executors.cli.index.reservations import release, reserve
from executors.cli.journal import Claim, JournalScope, Sent, tags_digest


class IndexJournal:
    """The journal of the folders of one run.

    `error` says why the journal failed, if it did. The documents are then safe in the index; a later run only sends them
    again.

    Args:
        scopes: the journal of each folder; empty for a run without a journal.
        tags: the tags of every file.
    """

    def __init__(self, scopes: Mapping[str, JournalScope], tags: Mapping[str, Any]) -> None:
        self._scopes = dict(scopes)
        self._tags = tags_digest(tags)
        self.error: str | None = None

    def sent_before(self, file: PictureFile) -> Sent | None:
        """The entry of a file, even if the file has changed since."""
        try:
            scope = self._scopes.get(file.folder)
            return scope.find(file.name) if scope else None
        except sqlite3.Error as error:
            self._give_up(error)
            return None

    def acknowledged(self, file: PictureFile) -> Sent | None:
        """The entry of a file, if the file has not changed since and was sent with the tags of this run."""
        sent = self.sent_before(file)
        if sent is None or (sent.size, sent.mtime_ns, sent.tags) != (file.size, file.mtime_ns, self._tags):
            return None
        return sent

    def claims(self, loaded: LoadedFile) -> list[Claim]:
        """Every file that was acknowledged under the id of a file."""
        try:
            scope = self._scopes.get(loaded.file.folder)
            return scope.claims(loaded.id) if scope else []
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def with_these_tags(self, sent: Sent) -> bool:
        """Whether a file was sent with the tags of this run."""
        return sent.tags == self._tags

    def reserve(self, files: Sequence[LoadedFile]) -> dict[str, Claim]:
        """Reserve the ids of files to send; return those that another run is sending just now, each with its file."""
        taken: dict[str, Claim] = {}
        try:
            for folder, group in _by_folder([(each.file.folder, self._sent(each)) for each in files]).items():
                if scope := self._scopes.get(folder):
                    taken |= reserve(scope, group)
        except sqlite3.Error as error:
            self._give_up(error)
        return taken

    def release(self, files: Sequence[LoadedFile]) -> None:
        """Give the ids of files back, once their outcome is known."""
        try:
            for folder, group in _by_folder([(each.file.folder, self._sent(each)) for each in files]).items():
                if scope := self._scopes.get(folder):
                    release(scope, [each.document_id for each in group])
        except sqlite3.Error as error:
            self._give_up(error)

    def record(self, files: Sequence[tuple[LoadedFile, str]]) -> None:
        """Remember acknowledged files with the versions of their documents; on disk when it returns."""
        self.remember([(each.file.folder, self._sent(each, version)) for each, version in files])

    def remember(self, files: Sequence[tuple[str, Sent]]) -> None:
        """Remember files by their folders; on disk when it returns."""
        try:
            for folder, group in _by_folder(files).items():
                if scope := self._scopes.get(folder):
                    scope.record(group)
        except sqlite3.Error as error:
            self._give_up(error)

    def _sent(self, loaded: LoadedFile, version: str = "") -> Sent:
        return Sent(loaded.file.name, loaded.size, loaded.mtime_ns, self._tags, loaded.id, version, loaded.digest)

    def _give_up(self, error: sqlite3.Error) -> None:
        self.error = str(error)
        self._scopes = {}


def _by_folder(files: Sequence[tuple[str, Sent]]) -> dict[str, list[Sent]]:
    by_folder: dict[str, list[Sent]] = {}
    for folder, sent in files:
        by_folder.setdefault(folder, []).append(sent)
    return by_folder
