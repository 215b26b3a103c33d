"""The user's journal: where it is, and how commands open it. If it can't be opened, they warn and work without it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from executors.cli.journal import Journal, JournalScope
from executors.cli.terminal.output import print_warning
from executors.client import DEFAULT_COLLECTION
from executors.settings import data_folder


def journal_path() -> Path:
    """The path of the journal."""
    return data_folder() / "journal" / "sent.sqlite"


def open_journal() -> Journal | None:
    """Open the user's journal; if it can't be opened, print a warning and return None."""
    try:
        return Journal(journal_path())
    except (OSError, sqlite3.Error) as error:
        print_warning(f"the journal can't be opened, so a later run can't continue from this one: {error}")
        return None


def scopes_of(
    journal: Journal | None, index_uuid: str, collection: str | None, folders: Iterable[str], id_mode: str
) -> dict[str, JournalScope]:
    """The part of the journal for each folder; empty if there is no journal."""
    if journal is None:
        return {}
    return {each: journal.scope(index_uuid, collection or DEFAULT_COLLECTION, each, id_mode) for each in folders}


def forget_deleted(index_uuid: str, collection: str | None, document_ids: Sequence[str]) -> None:
    """Remove deleted documents from the journal, so that a later `index` sends their files again."""
    path = journal_path()
    if not path.exists() or not document_ids:
        return
    try:
        with closing(Journal(path)) as journal:
            journal.forget(index_uuid, collection or DEFAULT_COLLECTION, document_ids)
    except (OSError, sqlite3.Error) as error:
        print_warning(
            f"the journal can't be written, so `index` will skip the deleted files (use --no-resume): {error}"
        )
