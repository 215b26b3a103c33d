"""Fixtures of the command line's tests: a service that speaks the wire, a folder of files, a journal of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from executors.cli.index.files import scan_folders
from executors.cli.index.sender import FileSender
from executors.cli.index.state import FileResult, IndexOptions, IndexOutcome
from executors.cli.journal import Journal
from executors.cli.transfer.format import end_line
from executors.client import RetryPolicy, VisualSearchClient
from tests.support.flows.export_lines import doc, header
from tests.support.flows.library_service import LibraryService, library_service
from tests.support.flows.wire_service import WireService, wire_service

MakeFiles = Callable[..., Path]
Send = Callable[..., IndexOutcome]


@pytest.fixture
def service() -> Iterator[WireService]:
    with wire_service() as running:
        yield running


@pytest.fixture
def make_files(tmp_path: Path) -> MakeFiles:
    """Make a folder of files, each with a content of its own unless one is given."""

    def make(*names: str, folder: str = "photos", **contents: bytes) -> Path:
        root = tmp_path / folder
        files = {name: f"content of {name}".encode() for name in names} | contents
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return make


@pytest.fixture
def send(service: WireService, tmp_path: Path) -> Send:
    """Send a folder with the journal of this test; the results are told in `results`."""

    def run(
        folder: Path,
        stop_when: Callable[[WireService], bool] | None = None,
        results: list[FileResult] | None = None,
        timeout_s: float = 10,
        **options: Any,
    ) -> IndexOutcome:
        async def main() -> IndexOutcome:
            retry = RetryPolicy(attempts=3, base_s=0.01, cap_s=0.02)
            chosen = IndexOptions(**options)
            stop = asyncio.Event()
            with closing(Journal(tmp_path / "sent.sqlite")) as journal:
                scopes = {str(folder): journal.scope(service.uuid, "images", str(folder), chosen.id_mode)}
                async with VisualSearchClient(service.url, retry=retry, timeout_s=timeout_s) as client:
                    told = (results if results is not None else []).append
                    sender = FileSender(client, chosen, scopes, told)
                    files = scan_folders([str(folder)]).files
                    sending = asyncio.create_task(sender.send(files, stop, grace_s=2))
                    while stop_when is not None and not sending.done():
                        if stop_when(service):
                            stop.set()
                        await asyncio.sleep(0.005)
                    return await sending

        return asyncio.run(main())

    return run


@pytest.fixture
def target() -> Iterator[LibraryService]:
    """A service to import into."""
    with library_service() as running:
        yield running


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """An export of 2,000 documents of one collection."""
    path = tmp_path / "backup.ndjson"
    lines = b"".join(doc(f"{n:04}", tags={"n": n}) for n in range(2000))
    path.write_bytes(header("images") + lines + end_line(2000))
    return path


@pytest.fixture(autouse=True)
def _data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal of the user who runs the tests is not touched."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("COLUMNS", raising=False)
