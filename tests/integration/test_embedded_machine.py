"""Generated sequences on the embedded store, with and without graphs, and on dictionaries: the same answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings

from tests.integration.store_machine import machine_for
from tests.support.embedded import SMALL_GRAPH, Folder

# The same sequences in every run: what fails here fails for everyone.
SHORT = settings(
    max_examples=20, stateful_step_count=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
LONG = settings(SHORT, max_examples=400, stateful_step_count=60)

TestWithoutGraphs = machine_for(Folder).TestCase
TestWithoutGraphs.settings = SHORT
TestWithGraphs = machine_for(lambda folder: Folder(folder, graph=SMALL_GRAPH)).TestCase
TestWithGraphs.settings = SHORT


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestWithoutGraphsForLong(machine_for(Folder).TestCase):  # type: ignore[misc]  # made at run time
    settings = LONG


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestWithGraphsForLong(  # type: ignore[misc]  # made at run time
    machine_for(lambda folder: Folder(folder, graph=SMALL_GRAPH)).TestCase
):
    settings = LONG


@pytest.mark.slow
@pytest.mark.timeout(1200)
class TestWithGraphsInMemoryForLong(  # type: ignore[misc]  # made at run time
    machine_for(lambda folder: Folder(folder, graph=replace(SMALL_GRAPH, rerank="memory"))).TestCase
):
    settings = LONG
