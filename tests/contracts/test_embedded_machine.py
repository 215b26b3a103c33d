"""Generated sequences on the embedded store, with and without graphs, and on dictionaries: the same answers."""

from __future__ import annotations

import unittest
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from executors.index.embedded.memory.collection_memory import GraphOptions
from tests.contracts.store_machine import machine_for
from tests.support.stores.embedded import SMALL_GRAPH, Folder

# The same sequences in every run, so that a failure can be reproduced.
SHORT = settings(max_examples=20, stateful_step_count=30, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(SHORT, max_examples=300, stateful_step_count=60)


def case(graph: GraphOptions, profile: settings) -> Any:
    """The machine as a test."""
    made: type[unittest.TestCase] = machine_for(lambda folder: Folder(folder, graph=graph)).TestCase
    made.settings = profile  # type: ignore[attr-defined]  # what hypothesis reads
    return made


def long_case(graph: GraphOptions) -> Any:
    """The long form."""
    return pytest.mark.slow(pytest.mark.timeout(1200)(case(graph, LONG)))


TestWithoutGraphs = case(GraphOptions(), SHORT)
TestWithGraphs = case(SMALL_GRAPH, SHORT)
TestWithoutGraphsForLong = long_case(GraphOptions())
TestWithGraphsForLong = long_case(SMALL_GRAPH)
TestWithGraphsInMemoryForLong = long_case(replace(SMALL_GRAPH, rerank="memory"))
