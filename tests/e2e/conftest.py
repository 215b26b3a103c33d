"""Flows of one, two and three shards for tests whose promises hold for any number of them."""

from __future__ import annotations

import pytest

from tests.support.flows.flow import RunningFlow


@pytest.fixture(params=[1, 2, 3], ids=["1 shard", "2 shards", "3 shards"])
def sharded(request: pytest.FixtureRequest, flows: dict[int, RunningFlow]) -> RunningFlow:
    return flows[request.param]
