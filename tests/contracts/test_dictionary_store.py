"""The dictionary store, which other stores are compared with, keeps the contract, too."""

from __future__ import annotations

import pytest

from executors.index.store import Store
from tests.contracts.store_contract import StoreContract
from tests.support.stores.dictionary_shard import Shard
from tests.support.stores.dictionary_store import DictionaryStore


class Dictionaries:
    """One shard, opened again and again."""

    def __init__(self) -> None:
        self._shard = Shard()

    async def open(self) -> Store:
        store = DictionaryStore(self._shard)
        await store.open()
        return store

    async def settle(self, store: Store) -> None:
        """There is nothing to wait for."""


class TestDictionaryStore(StoreContract):
    @pytest.fixture
    def harness(self) -> Dictionaries:
        return Dictionaries()
