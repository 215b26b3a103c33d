"""Generated sequences on a real OpenSearch and on dictionaries: the same answers."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from executors.index.opensearch.cluster.connection import ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from tests.contracts.store_machine import machine_for
from tests.support.opensearch.opensearch_index import Indices, delete_now

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

SHORT = settings(max_examples=8, stateful_step_count=25, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=100, stateful_step_count=50)


def run(connection: ConnectionOptions, index: IndexOptions, profile: settings, **options: Any) -> None:
    """Run the machine; every example in indices of its own."""
    made: list[Indices] = []

    def harness(_: object) -> Indices:
        for before in made:
            delete_now(connection, before.prefix)
        made[:] = [Indices(connection, index, **options)]
        return made[0]

    case: type[unittest.TestCase] = machine_for(harness).TestCase
    case.settings = profile  # type: ignore[attr-defined]  # what hypothesis reads
    try:
        case("runTest").debug()
    finally:
        for each in made:
            delete_now(connection, each.prefix)


def test_sequences_are_answered_like_by_dictionaries(opensearch: ConnectionOptions) -> None:
    run(opensearch, IndexOptions(), SHORT)


def test_also_in_two_shards_with_few_typed_fields(opensearch: ConnectionOptions) -> None:
    run(opensearch, IndexOptions(shards=2, tag_fields=2), SHORT)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_sequences_are_answered_like_by_dictionaries(opensearch: ConnectionOptions) -> None:
    run(opensearch, IndexOptions(), LONG)
    run(opensearch, IndexOptions(shards=2, tag_fields=2), LONG)
