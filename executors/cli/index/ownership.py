"""Whose picture stands under an id: a file takes the place of what came from it, never that of another picture."""

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

# The same bytes give the same vector, but for the rounding of a model that runs them in another batch. Shots of a series are
# nearer than one may think: a still scene with a little noise has up to 0.9998, as has an edited copy.
SAME_PICTURE: Final = 0.9999


class Standing(Enum):
    """What stands under an id, seen from a file that is to be sent under it."""

    FREE = auto()
    OWN = auto()
    SAME = auto()
    OTHER = auto()
    UNKNOWN = auto()


def standing_of(
    loaded: LoadedFile, found: FoundDocument | None, own: Sent | None, claims: Sequence[Claim]
) -> tuple[Standing, Claim | None]:
    """What the journal knows of the document under a file's id.

    Args:
        loaded: the file.
        found: the document, None when there is none.
        own: what was acknowledged of this file.
        claims: every file that was acknowledged under this id.

    Returns:
        OWN: it came from this file. SAME: from a file of the same content. OTHER: from a file with another content.
        UNKNOWN: from elsewhere; only the pictures themselves can tell. The claim is that of the document's own file.
    """
    if found is None:
        return Standing.FREE, None
    if own is not None and own.document_id == loaded.id and own.stands(found.version):
        return Standing.OWN, None
    for claim in claims:
        sent = claim.sent
        if not sent.has_picture_of(found.version):
            continue
        # A moved file keeps its size and time; nanoseconds don't coincide.
        same_state = (sent.size, sent.mtime_ns) == (loaded.size, loaded.mtime_ns)
        if sent.digest == loaded.digest or (not sent.digest and same_state):
            return Standing.SAME, claim
        if sent.digest and sent.version == found.version:
            return Standing.OTHER, claim
    return Standing.UNKNOWN, None


def id_taken(claim: Claim | None, *, were_both_changed: bool = False) -> VisualSearchError:
    """The error for a file whose id belongs to another picture.

    Args:
        claim: the file that the other picture came from, where that is known.
        were_both_changed: the file was acknowledged under this id; since then it was changed, and the document as well. The
            index does not tell new tags from a new picture.
    """
    if were_both_changed:
        return VisualSearchError(
            "id_taken",
            "this file was indexed under this id; since then it was changed, and so was the document in the index (its tags, "
            "or its picture): `visual-search get` shows the document, --replace puts this file and the tags of this "
            "command in its place",
        )
    origin = f"from {claim.folder}/{claim.sent.name}" if claim is not None else "not from this folder"
    return VisualSearchError(
        "id_taken",
        f"another picture has this id, {origin}; --id-prefix NAME/ makes ids of their own for this folder, "
        "--replace puts this file in its place",
    )


async def same_pictures(
    client: VisualSearchClient, files: Sequence[LoadedFile], collection: str | None
) -> dict[str, bool | VisualSearchError]:
    """Whether files are the pictures that stand under their ids, by their vectors; or why a file has none.

    A file is the same picture, whether it was made smaller before it was sent or not. What was made by another model can't
    be compared: True, so that the service says what is wrong with it.

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
    """A file as it is, where it was made smaller, and the other way round; None where both are the same."""
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
    """The vectors of files; when they are refused as a whole, those of each half, until the file at fault is alone."""
    try:
        return list(await client.embed([Document(id=each.id, blob=each.blob) for each in files]))
    except VisualSearchError as error:
        if is_unavailable(error) and error.code != "deadline_exceeded":
            raise
        if len(files) == 1:
            return [error]
    half = len(files) // 2
    return [*await _embed(client, files[:half]), *await _embed(client, files[half:])]
