"""A gateway's service over an index of one, two and three shards, without a flow."""

from __future__ import annotations

import pytest

from tests.support.flows.local_index import Caller, local_service


@pytest.fixture(params=[1, 2, 3], ids=["1 shard", "2 shards", "3 shards"])
async def call(request: pytest.FixtureRequest) -> Caller:
    return Caller(*await local_service(request.param))


@pytest.fixture
async def call2() -> Caller:
    """Two shards."""
    return Caller(*await local_service(2))
