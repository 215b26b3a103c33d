"""Decides which files may be sent, so that no file replaces another picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from executors.cli.index.absent_ids import found_documents, may_hold_documents
from executors.cli.index.loading import LoadedFile
from executors.cli.index.ownership import Standing, id_taken, same_pictures, standing_of
from executors.cli.index.run_journal import IndexJournal
from executors.cli.index.state import IndexOptions
from executors.cli.journal import Claim, with_changed_tags
from executors.client import DEFAULT_COLLECTION, FoundDocument, VisualSearchClient
from executors.errors import VisualSearchError


@dataclass(slots=True)
class Sorted:
    """Files, sorted by what to do with them.

    Attributes:
        to_send: files that may be sent.
        held: files that the index has already, each with the version to remember.
        refused: files that must not be sent, each with the error.
    """

    to_send: list[LoadedFile] = field(default_factory=list)
    held: list[tuple[LoadedFile, str]] = field(default_factory=list)
    refused: list[tuple[LoadedFile, VisualSearchError]] = field(default_factory=list)


class IdGuard:
    """Looks up ids in the index before they are written.

    Args:
        client: the client of the service.
        options: the options of the run; with `replace`, every file may be sent.
        journal: the journal of the run.
    """

    def __init__(self, client: VisualSearchClient, options: IndexOptions, journal: IndexJournal) -> None:
        self._client = client
        self._options = options
        self._journal = journal
        # An empty collection holds nothing that could be replaced, so its ids need no look-up.
        self._is_filled = True

    async def look(self) -> None:
        """Find out whether the collection has documents that could be replaced.

        Raises:
            VisualSearchError: the service does not answer.
        """
        self._is_filled = await may_hold_documents(self._client, self._options.collection or DEFAULT_COLLECTION)

    def note_replaced(self) -> None:
        """Note that a document was replaced, so the collection is not empty any more."""
        self._is_filled = True

    async def sort(self, loaded: Sequence[LoadedFile]) -> Sorted:
        """Sort files, and reserve the ids of those to send until `release`.

        Raises:
            VisualSearchError: the service does not answer.
        """
        if not loaded or self._options.replace:
            return Sorted(list(loaded))
        taken = self._journal.reserve(loaded)
        result = Sorted(refused=[(each, id_taken(taken[each.id])) for each in loaded if each.id in taken])
        ours = [each for each in loaded if each.id not in taken]
        # Another run may have begun to fill the collection since this one looked.
        self._is_filled = self._is_filled or any(
            claim.folder != each.file.folder for each in ours for claim in self._journal.claims(each)
        )
        if not self._is_filled:
            result.to_send = ours
        else:
            await self._compare(ours, result)
        return result

    def release(self, loaded: Sequence[LoadedFile]) -> None:
        """Give the ids back to other runs, once the outcome of the files is known."""
        if loaded and not self._options.replace:
            self._journal.release(loaded)

    async def _compare(self, loaded: Sequence[LoadedFile], result: Sorted) -> None:
        """Sort files by the documents that the index holds under their ids."""
        found = await found_documents(self._client, [each.id for each in loaded], self._options.collection)
        standings = {each.id: self._standing(each, found.get(each.id)) for each in loaded}
        unknown = [each for each in loaded if standings[each.id][0] is Standing.UNKNOWN]
        same = await same_pictures(self._client, unknown, self._options.collection) if unknown else {}
        for each in loaded:
            standing, claim = standings[each.id]
            compared = same.get(each.id)
            if isinstance(compared, VisualSearchError):
                result.refused.append((each, compared))
            elif standing is Standing.OTHER or compared is False:
                result.refused.append((each, id_taken(claim, were_both_changed=self._was_changed(each, claim))))
            elif standing in (Standing.SAME, Standing.UNKNOWN) and self._is_as_acknowledged(each, claim):
                result.held.append((each, self._version_of(found[each.id])))
            else:
                result.to_send.append(each)

    def _standing(self, loaded: LoadedFile, found: FoundDocument | None) -> tuple[Standing, Claim | None]:
        claims = self._journal.claims(loaded) if found is not None else []
        return standing_of(loaded, found, self._journal.sent_before(loaded.file), claims)

    def _version_of(self, found: FoundDocument) -> str:
        """What the journal stores of a document that this run does not send, because it has the file's picture."""
        version = found.version or ""
        return version if dict(found.tags) == dict(self._options.tags) else with_changed_tags(version)

    def _was_changed(self, loaded: LoadedFile, claim: Claim | None) -> bool:
        """Whether this file was acknowledged under its id with another content, and the document's origin is unknown."""
        own = self._journal.sent_before(loaded.file)
        return claim is None and own is not None and own.document_id == loaded.id and own.digest != loaded.digest

    def _is_as_acknowledged(self, loaded: LoadedFile, claim: Claim | None) -> bool:
        """Whether a picture in the index was acknowledged with these tags, from this path or its earlier one."""
        if not self._options.resume:
            return False
        if claim is not None:
            return self._journal.with_these_tags(claim.sent)
        return self._journal.acknowledged(loaded.file) is not None
