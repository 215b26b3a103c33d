"""The error of the index names every shard that has it."""

from __future__ import annotations

from executors.gateway.shards.index_state import index_state
from tests.support.flows.local_index import local_service
from tests.support.stores.dictionary_store import DictionaryStore


async def test_every_shard_whose_files_are_lost_is_named() -> None:
    service, stages = await local_service(3)
    assert (await index_state(service)).error is None
    for number in (0, 2):
        lose(stages.stores[number], f"/index/shard-{number}")
    error = (await index_state(service)).error
    assert error is not None
    assert error.code == "storage_unavailable"
    for number in (0, 2):
        assert f"shard {number}: the folder '/index/shard-{number}' is gone" in error.message


def lose(store: DictionaryStore, folder: str) -> None:
    status = store.status
    fault = {
        "code": "storage_unavailable",
        "message": f"the folder {folder!r} is gone",
        "details": {"folder": folder},
    }

    async def lost() -> object:
        found = await status()
        found.details["storage_error"] = fault
        return found

    store.status = lost  # type: ignore[method-assign, assignment]
