"""Finds out whose picture has an id: a file may replace what came from it, but not another picture."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import Final

import numpy as np

from executors.cli.exit_status import is_unavailable
from executors.cli.index.absent_ids import found_documents
from executors.cli.index.loading import LoadedFile, load_file
from executors.cli.journal import Claim, Sent
from executors.client import Document, FoundDocument, VisualSearchClient
from executors.client.answers import EmbeddingResult
from executors.errors import VisualSearchError

# The same bytes give the same vector, except for rounding in another batch. The threshold must be this high: two shots of
# a still scene have a cosine of up to 0.9998, and so does an edited copy.
SAME_PICTURE: Final = 0.9999


class Standing(Enum):
    """The owner of the picture under an id, as seen by a file that wants the id; see `standing_of`."""

    FREE = auto()
    OWN = auto()
    SAME = auto()
    OTHER = auto()
    UNKNOWN = auto()


def standing_of(
    loaded: LoadedFile, found: FoundDocument | None, own: Sent | None, claims: Sequence[Claim]
) -> tuple[Standing, Claim | None]:
    """Find out, from the journal, where the document under a file's id came from.

    Args:
        loaded: the file.
        found: the document; None if there is none.
        own: the journal's entry of this file.
        claims: every file that was acknowledged under this id.

    Returns:
        FREE: there is no document. OWN: it came from this file. SAME: from a file with the same content. OTHER: from a file
        with another content. UNKNOWN: the journal does not know; the pictures must be compared. The second value is the
        entry of the file that the document came from, if it is known.
    """
    if found is None:
        return Standing.FREE, None
    if own is not None and own.document_id == loaded.id and own.stands(found.version):
        return Standing.OWN, None
    for claim in claims:
        sent = claim.sent
        if not sent.has_picture_of(found.version):
            continue
        # A moved file keeps its size and time; two files hardly ever have the same time in nanoseconds.
        same_state = (sent.size, sent.mtime_ns) == (loaded.size, loaded.mtime_ns)
        if sent.digest == loaded.digest or (not sent.digest and same_state):
            return Standing.SAME, claim
        if sent.digest and sent.version == found.version:
            return Standing.OTHER, claim
    return Standing.UNKNOWN, None


def id_taken(claim: Claim | None, *, were_both_changed: bool = False) -> VisualSearchError:
    """The error for a file whose id belongs to another picture.

    Args:
        claim: the file that the other picture came from, if it is known.
        were_both_changed: the file was acknowledged under this id, and both the file and the document have changed since.
            It is not known whether the document has new tags or a new picture.
    """
    if were_both_changed:
        return VisualSearchError(
            "id_taken",
            "this file was indexed under this id; both the file and the document in the index (its tags or its picture) have "
            "changed since: `visual-search get` shows the document, --replace replaces it with this file and the tags of "
            "this command",
        )
    origin = f"from {claim.folder}/{claim.sent.name}" if claim is not None else "not from this folder"
    return VisualSearchError(
        "id_taken",
        f"another picture has this id, {origin}; use --id-prefix NAME/ to give this folder its own ids, or --replace to "
        "replace that picture",
    )


async def same_pictures(
    client: VisualSearchClient, files: Sequence[LoadedFile], collection: str | None
) -> dict[str, bool | VisualSearchError]:
    """For each file, whether it is the picture that has its id, by their vectors; or the error, if it has no vector.

    A picture and its smaller copy count as the same. Vectors of different models can't be compared: that is True, so that
    the file is sent and the service says what is wrong.

    Raises:
        VisualSearchError: the service does not answer.
    """
    found = await found_documents(client, [each.id for each in files], collection, with_embedding=True)
    answers = await _compare(client, files, found)
    different = [each for each in files if answers[each.id] is False]
    others = [each for each in await asyncio.to_thread(lambda: list(map(_other_form, different))) if each is not None]
    again = await _compare(client, others, found) if others else {}
    return answers | {document_id: True for document_id, same in again.items() if same is True}


async def _compare(
    client: VisualSearchClient, files: Sequence[LoadedFile], found: Mapping[str, FoundDocument]
) -> dict[str, bool | VisualSearchError]:
    answers: dict[str, bool | VisualSearchError] = {}
    for each, embedded in zip(files, await _embed(client, files), strict=True):
        stored = found.get(each.id)
        if isinstance(embedded, VisualSearchError):
            answers[each.id] = embedded
        elif embedded.error is not None:
            answers[each.id] = embedded.error
        else:
            answers[each.id] = stored is None or _is_same(stored, embedded)
    return answers


def _other_form(loaded: LoadedFile) -> LoadedFile | None:
    """The original file if the smaller copy was sent, and the other way round; None if both are the same."""
    from executors.cli.index.shrinking import shrink

    whole = load_file(loaded.file, "sha256", None)
    if isinstance(whole, VisualSearchError) or whole.digest != loaded.digest:
        return None
    blob = whole.blob if whole.blob != loaded.blob else shrink(whole.blob)
    return None if blob == loaded.blob else replace(loaded, blob=blob)


def _is_same(stored: FoundDocument, embedded: EmbeddingResult) -> bool:
    first, second = np.asarray(stored.embedding or ()), np.asarray(embedded.embedding or ())
    if stored.model_id != embedded.model_id or first.shape != second.shape:
        return True
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return lengths > 0 and float(first @ second) / lengths >= SAME_PICTURE


async def _embed(client: VisualSearchClient, files: Sequence[LoadedFile]) -> list[EmbeddingResult | VisualSearchError]:
    """Embed files. If the request is refused as a whole, send each half, until the bad file is alone."""
    try:
        return list(await client.embed([Document(id=each.id, blob=each.blob) for each in files]))
    except VisualSearchError as error:
        if is_unavailable(error) and error.code != "deadline_exceeded":
            raise
        if len(files) == 1:
            return [error]
    half = len(files) // 2
    return [*await _embed(client, files[:half]), *await _embed(client, files[half:])]
