"""The contract of a store as tests: an implementation subclasses `StoreContract` and provides the fixture `harness`.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def harness(self, tmp_path): ...   # see tests.support.records.Harness

`store_machine.machine_for` makes the stateful test of the same contract.
"""

from __future__ import annotations

from tests.integration.contract_collections import CollectionContract
from tests.integration.contract_deletes import DeleteContract
from tests.integration.contract_filter_meaning import FilterMeaningContract
from tests.integration.contract_filters import FilterContract
from tests.integration.contract_reads import ReadContract
from tests.integration.contract_searching import SearchContract
from tests.integration.contract_versions import VersionContract
from tests.integration.contract_writes import WriteContract


class StoreContract(
    WriteContract,
    VersionContract,
    ReadContract,
    CollectionContract,
    FilterContract,
    FilterMeaningContract,
    SearchContract,
    DeleteContract,
):
    """Everything that the contract promises, whatever holds the documents."""
