"""The flow files send every endpoint that the executors bind to the shards that its merge expects."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from executors.index.executor import IndexShard, ShardMerge
from executors.index.wire.merges import MERGES, ONE_SHARD
from tests.support.flows.flow import ROOT

FILES = sorted((ROOT / "flows").glob("*.yml"))


def bound(executor: Any) -> set[str]:
    """The endpoints that an executor binds."""
    return set(executor.requests_by_class[executor.__name__])


def executors_of(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load(file.read_text())["executors"])


def load(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def polled(polling: dict[str, str] | str, endpoint: str) -> str:
    """How many shards Jina asks: ANY where a file does not say."""
    if isinstance(polling, str):
        return polling
    return polling.get(endpoint, polling.get("*", "ANY"))


def test_there_are_flow_files() -> None:
    assert len(FILES) >= 3


def test_every_endpoint_of_a_shard_is_merged_or_answered_by_one() -> None:
    assert bound(IndexShard) == bound(ShardMerge) == set(MERGES) | set(ONE_SHARD)
    assert not set(MERGES) & set(ONE_SHARD)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_endpoint_goes_to_the_shards_that_its_merge_expects(file: Path) -> None:
    (index,) = (each for each in executors_of(file) if load(each["uses"]) is IndexShard)
    if index["shards"] == 1:
        assert "uses_after" not in index
        return
    assert load(index["uses_after"]) is ShardMerge
    assert set(index["polling"]) <= {"*", *bound(IndexShard)}
    for endpoint in bound(IndexShard):
        assert polled(index["polling"], endpoint) == ("ANY" if endpoint in ONE_SHARD else "ALL"), endpoint
    # One that is bound later asks all shards as well.
    assert polled(index["polling"], "/later") == "ALL"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_stage_takes_what_the_one_before_it_takes(file: Path) -> None:
    """Jina refuses a flow otherwise."""
    for one, following in pairwise(executors_of(file)):
        assert bound(load(one["uses"])) <= bound(load(following["uses"])), (one["name"], following["name"])
