"""The contract of a store as tests: an implementation subclasses `StoreContract` and provides the fixture `harness`.

    class TestMyStore(StoreContract):
        @pytest.fixture
        async def harness(self, tmp_path): ...   # see tests.support.stores.records.Harness

`store_machine.machine_for` makes the stateful test of the same contract.
"""

from __future__ import annotations

from tests.contracts.store_collections import CollectionContract
from tests.contracts.store_deletes import DeleteContract
from tests.contracts.store_facets import FacetContract
from tests.contracts.store_filter_meaning import FilterMeaningContract
from tests.contracts.store_filters import FilterContract
from tests.contracts.store_reads import ReadContract
from tests.contracts.store_searching import SearchContract
from tests.contracts.store_versions import VersionContract
from tests.contracts.store_writes import WriteContract


class StoreContract(
    WriteContract,
    VersionContract,
    ReadContract,
    CollectionContract,
    FilterContract,
    FilterMeaningContract,
    FacetContract,
    SearchContract,
    DeleteContract,
):
    """The tests of the whole contract, for any implementation."""
