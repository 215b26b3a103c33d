"""Pages of documents: over any number of shards the same as from one, to the last bit."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from executors.documents import ImageDoc
from executors.index.records import ShardIdentity, StoredDocument
from executors.index.wire import merge
from executors.index.wire.documents import report_answer
from executors.index.wire.pages import documents_of_page, merge_pages, pack_page

IDS = st.sets(st.sampled_from(["", "a", "B", "é", "\U0001f600", "z", "aa", "0", "~", "\uffff"]), max_size=10)


def stored(document_id: str, version: str = "1", parts: bool = True) -> StoredDocument:
    seed = sum(document_id.encode()) % 100
    vector = np.random.default_rng(seed).normal(size=5).astype(np.float32)
    return StoredDocument(
        collection="c",
        id=document_id,
        version=version,
        model_id="m@1",
        tags={"id": document_id, "big": 2**53},
        uri=None if seed % 2 else "label",
        parent="p",
        box=(1.0, 2.0, 3.0, 4.0),
        text="t",
        embedding=vector if parts else None,
        # Empty ones and None are distinguished.
        thumbnail=(None if seed % 3 == 0 else bytes(range(seed)) * (seed % 2)) if parts else None,
    )


def answer(number: int, shards: int, documents: list[StoredDocument], limit: int) -> ImageDoc:
    page = sorted(documents, key=lambda each: each.id)[:limit]
    made = report_answer(ImageDoc.from_values(id="r"), pack_page(page, limit), ShardIdentity("u", number, shards))
    return ImageDoc.from_protobuf(made.to_protobuf())


@given(first=IDS, second=IDS, limit=st.integers(1, 12), newer=st.booleans(), parts=st.booleans())
def test_a_page_is_the_first_ids_over_all_shards_each_once_and_the_newest(
    first: set[str], second: set[str], limit: int, newer: bool, parts: bool
) -> None:
    shards = [
        [stored(each, "2" if newer else "1", parts) for each in first],
        [stored(each, "1" if newer else "2", parts) for each in second],
    ]
    answers = [answer(n, 2, documents, limit) for n, documents in enumerate(shards)]
    merged = merge.merge_shards([[each] for each in answers], merge_pages)[0]
    documents, more = documents_of_page(ImageDoc.from_protobuf(merged.to_protobuf()), "c")
    expected = sorted(first | second)
    assert [each.id for each in documents] == expected[:limit]
    # There is nothing after the last page, and a reader that stops before it has not seen everything.
    assert more or expected == expected[:limit]
    assert not more or len(documents) == limit
    for document in documents:
        source = stored(str(document.id), "2" if document.id in (first if newer else second) else "1", parts)
        for name in (each.name for each in fields(source)):
            np.testing.assert_array_equal(getattr(document, name), getattr(source, name), name)


def test_an_empty_shard_beside_a_full_one_changes_nothing() -> None:
    answers = [answer(0, 2, [], 3), answer(1, 2, [stored(each) for each in "abc"], 3)]
    merged = merge.merge_shards([[each] for each in answers], merge_pages)[0]
    documents, more = documents_of_page(merged, "c")
    assert [each.id for each in documents] == ["a", "b", "c"]
    assert more
