"""The contract's tests stand in modules that are not test modules: their assertions explain themselves all the same."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.integration.contract_reads", "tests.integration.contract_writes", "tests.integration.store_machine"
)
