"""Documents are read each by itself: what is wrong with one costs no other."""

from __future__ import annotations

from typing import Any

import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from tests.support.dictionary_store import DictionaryStore
from tests.support.local_index import Caller


async def test_a_damaged_document_costs_no_other(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    for n, name in enumerate(["a", "bad", "c"]):
        await call.index(name, shard=n)
    real = DictionaryStore.get

    async def get(store: DictionaryStore, collection: str, ids: list[str], **given: Any) -> Any:
        found = await real(store, collection, ids, **given)
        if any(each is not None and each.id == "bad" for each in found):
            raise VisualSearchError("store_invalid", "damaged on disk", ids=["bad"])
        return found

    # A dictionary's documents can't be damaged.
    monkeypatch.setattr(DictionaryStore, "get", get)
    answer = await call("/get", *[ImageDoc.from_values(id=name) for name in ("a", "bad", "nobody", "c")])
    codes = [each.error.code if each.error else None for each in answer.documents]
    assert codes == [None, "store_invalid", "not_found", None]
