"""Documents are read independently: an invalid one gets an error, and the others are still read."""

from __future__ import annotations

from typing import Any

import pytest

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from tests.support.flows.local_index import Caller
from tests.support.stores.dictionary_store import DictionaryStore


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


async def test_what_is_not_there_is_an_error_to_an_update_and_none_to_a_delete(call: Caller) -> None:
    await call.index("there")
    updated = await call("/update", ImageDoc.from_values(id="there"), ImageDoc.from_values(id="nobody"))
    assert updated.failed == 1
    assert [each.result for each in updated.documents] == ["unchanged", "not_found"]
    assert [each.error.code if each.error else None for each in updated.documents] == [None, "not_found"]
    elsewhere = await call("/update", ImageDoc.from_values(id="there"), collection="nowhere")
    assert elsewhere.documents[0].error is not None
    assert elsewhere.documents[0].error.message == "no document 'there' in 'nowhere'"
    deleted = await call("/delete", ImageDoc.from_values(id="nobody"))
    assert (deleted.failed, deleted.documents[0].result, deleted.documents[0].error) == (0, "not_found", None)


async def test_an_update_that_not_every_shard_answered_says_so_rather_than_not_found(call2: Caller) -> None:
    await call2.index("a", shard=0)
    call2.stages.missing = {0}
    with pytest.raises(VisualSearchError, match="shard_missing"):
        await call2("/update", ImageDoc.from_values(id="a"))


async def test_the_store_is_told_whether_to_refresh(call2: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, bool]] = []
    for name in ("put", "update"):
        real = getattr(DictionaryStore, name)

        async def write(
            store: DictionaryStore, given: Any, *, refresh: bool, name: str = name, real: Any = real
        ) -> Any:
            told.append((name, refresh))
            return await real(store, given, refresh=refresh)

        monkeypatch.setattr(DictionaryStore, name, write)
    one = {"id": "a", "embedding": [1.0, 0.0, 0.0, 0.0]}
    for refresh in (True, False):
        await call2("/index", ImageDoc.from_values(**one), refresh=refresh)
        await call2("/update", ImageDoc.from_values(id="a", tags={"n": 1}), refresh=refresh)
    assert set(told[:3]) == {("put", True), ("update", True)}
    assert set(told[3:]) == {("put", False), ("update", False)}
