"""Where the journal of a user is, and what commands do with it; without one they work, and say what is lost."""

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
    """Where acknowledgements are remembered."""
    return data_folder() / "journal" / "sent.sqlite"


def open_journal() -> Journal | None:
    """The user's journal; None, with a warning, where it can't be kept."""
    try:
        return Journal(journal_path())
    except (OSError, sqlite3.Error) as error:
        print_warning(f"what is acknowledged can't be remembered for a later run: {error}")
        return None


def scopes_of(
    journal: Journal | None, index_uuid: str, collection: str | None, folders: Iterable[str], id_mode: str
) -> dict[str, JournalScope]:
    """The part of the journal that belongs to each folder; none of it when there is no journal."""
    if journal is None:
        return {}
    return {each: journal.scope(index_uuid, collection or DEFAULT_COLLECTION, each, id_mode) for each in folders}


def forget_deleted(index_uuid: str, collection: str | None, document_ids: Sequence[str]) -> None:
    """Have deleted documents sent again by a later `index`."""
    path = journal_path()
    if not path.exists() or not document_ids:
        return
    try:
        with closing(Journal(path)) as journal:
            journal.forget(index_uuid, collection or DEFAULT_COLLECTION, document_ids)
    except (OSError, sqlite3.Error) as error:
        print_warning(f"`index` will take the deleted documents for indexed (use --no-resume): {error}")
