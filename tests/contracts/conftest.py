"""The contracts' tests are in modules that are not test modules; this makes pytest explain their assertions, too."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.integration.{name}"
        for name in (
            "contract_collections",
            "contract_deletes",
            "contract_filters",
            "contract_reads",
            "contract_searching",
            "contract_versions",
            "contract_writes",
            "embedding_contract",
            "machine_answers",
            "store_machine",
        )
    )
)
