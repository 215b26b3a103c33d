"""Decides for files that were read whether they may be sent: no file takes the place of another picture."""

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
    """Files by what is to be done with them.

    Attributes:
        to_send: nothing stands in their way.
        held: the index has them already, in this version of their document.
        refused: why they can't be sent.
    """

    to_send: list[LoadedFile] = field(default_factory=list)
    held: list[tuple[LoadedFile, str]] = field(default_factory=list)
    refused: list[tuple[LoadedFile, VisualSearchError]] = field(default_factory=list)


class IdGuard:
    """Looks what stands under ids before they are written.

    Args:
        client: of the service.
        options: of the run; with `replace`, everything may be sent.
        journal: of the run.
    """

    def __init__(self, client: VisualSearchClient, options: IndexOptions, journal: IndexJournal) -> None:
        self._client = client
        self._options = options
        self._journal = journal
        # A collection that was empty holds nothing to lose, and need not be asked.
        self._is_filled = True

    async def look(self) -> None:
        """See whether there is anything to be careful of.

        Raises:
            VisualSearchError: the service does not answer.
        """
        self._is_filled = await may_hold_documents(self._client, self._options.collection or DEFAULT_COLLECTION)

    def note_replaced(self) -> None:
        """Something was replaced: there is a document after all."""
        self._is_filled = True

    async def sort(self, loaded: Sequence[LoadedFile]) -> Sorted:
        """Decide, and reserve the ids of what is to be sent until `release`.

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
        """What became of files is known: their ids are free for another run."""
        if loaded and not self._options.replace:
            self._journal.release(loaded)

    async def _compare(self, loaded: Sequence[LoadedFile], result: Sorted) -> None:
        """Decide by what the index holds."""
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
        """Whether a file was acknowledged under its id with another content, and nothing is known of what stands there."""
        own = self._journal.sent_before(loaded.file)
        return claim is None and own is not None and own.document_id == loaded.id and own.digest != loaded.digest

    def _is_as_acknowledged(self, loaded: LoadedFile, claim: Claim | None) -> bool:
        """Whether a picture that the index holds was acknowledged with these tags, here or from where it was before."""
        if not self._options.resume:
            return False
        if claim is not None:
            return self._journal.with_these_tags(claim.sent)
        return self._journal.acknowledged(loaded.file) is not None
