"""Pages of documents between the shards and the gateway: columns, one matrix of vectors, one run of bytes. Pure.

One message per document would cost several times as much to pack and to read as its content.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from executors.documents import ImageDoc
from executors.index.records import StoredDocument
from executors.index.wire.columns import Columns, unpack
from executors.index.wire.merge import newest_copies, refusal

_FIELDS: Final = {
    "ids": "id",
    "versions": "version",
    "model_ids": "model_id",
    "tags": "tags",
    "uris": "uri",
    "parents": "parent",
    "boxes": "box",
    "texts": "text",
}


@dataclass(frozen=True, slots=True)
class PackedPage:
    """Documents in the order of their ids.

    Attributes:
        columns: JSON values by column; `thumbnail_sizes` in bytes, None for no thumbnail; `limit` as requested; `full`
            if there may be more.
        embeddings: N x D float32, None if none were asked for.
        thumbnails: all of them, one after the other.
    """

    columns: Columns
    embeddings: NDArray[np.float32] | None
    thumbnails: bytes | None


def pack_page(documents: Sequence[StoredDocument], limit: int) -> PackedPage:
    """Pack the documents that one shard read; fewer documents than `limit` mean that it has no more."""
    columns: dict[str, Any] = {
        name: [getattr(document, field) for document in documents] for name, field in _FIELDS.items()
    }
    columns["thumbnail_sizes"] = [None if each.thumbnail is None else len(each.thumbnail) for each in documents]
    columns |= {"limit": limit, "full": len(documents) >= limit}
    vectors = [each.embedding for each in documents if each.embedding is not None]
    thumbnails = b"".join(each.thumbnail for each in documents if each.thumbnail is not None)
    return PackedPage(columns, np.stack(vectors) if vectors else None, thumbnails or None)


def merge_pages(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The first documents by id (code points) over all shards, as many as were asked for; the newest copy of each id."""
    failures = [answer.error for answer in answers if answer.error]
    if len(failures) == len(answers):
        return refusal(answers[0], failures[0])
    pages = [(answer, each) for answer, each in zip(answers, columns, strict=True) if "ids" in each]
    limit = max(each["limit"] for _, each in pages)
    copies = newest_copies([each for _, each in pages])
    places = [copies[document_id] for document_id in sorted(copies)[:limit]]
    names = [*_FIELDS, "thumbnail_sizes"]
    merged: Columns = {name: [pages[page][1][name][row] for page, row in places] for name in names}
    merged["full"] = len(copies) > limit or any(each["full"] for _, each in pages)
    matrices = [answer.embedding for answer, _ in pages]
    vectors = [matrix[row] for page, row in places if (matrix := matrices[page]) is not None]
    thumbnails = [_thumbnails(answer, each) for answer, each in pages]
    kept = b"".join(thumbnails[page][row] or b"" for page, row in places)
    return ImageDoc.from_values(
        id=answers[0].id,
        hits=orjson.dumps(merged),
        embedding=np.stack(vectors) if vectors else None,
        blob=kept or None,
    )


def documents_of_page(answer: ImageDoc, collection: str) -> tuple[list[ImageDoc], bool]:
    """The documents of a merged page, and whether there may be more after them."""
    columns = unpack(answer)
    names = [*_FIELDS.values()]
    rows = zip(*(columns[name] for name in _FIELDS), strict=True)
    thumbnails = _thumbnails(answer, columns)
    vectors = answer.embedding
    documents = [
        ImageDoc.from_values(
            **dict(zip(names, row, strict=True)),
            collection=collection,
            embedding=None if vectors is None else vectors[n],
            thumbnail=thumbnails[n],
        )
        for n, row in enumerate(rows)
    ]
    return documents, bool(columns["full"])


def _thumbnails(answer: ImageDoc, columns: Columns) -> list[bytes | None]:
    sizes = columns["thumbnail_sizes"]
    ends = list(accumulate(size or 0 for size in sizes))
    content = answer.blob or b""
    return [None if size is None else content[end - size : end] for size, end in zip(sizes, ends, strict=True)]
