"""The notebook runs from beginning to end, shows pictures, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.support.flows.flow import ROOT, free_port

NOTEBOOK = ROOT / "flows" / "quickstart.ipynb"


def test_the_notebook_searches_and_shows_pictures(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"VS_HTTP_PORT": free_port(), "VS_GRPC_PORT": free_port(), "PYTHONPATH": ROOT, "TMPDIR": tmp_path}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("VS_WORKSPACE", raising=False)
    notebook = nbformat.read(NOTEBOOK, 4)
    metadata = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=90, kernel_name="python3", resources=metadata).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    indexed, found, shown = (output.data for output in outputs if output.output_type == "execute_result")
    assert indexed["text/plain"].count("'created'") == 10
    assert found["text/plain"].startswith("[('chelsea', 0.")
    assert shown["text/html"].count('<img src="data:image/') == 5
    said = " ".join(str(output) for output in outputs)
    assert "Warning" not in said
    assert "Traceback" not in said
    assert list(tmp_path.rglob("IndexShard")) == []
    assert processes_with(f"VS_HTTP_PORT={variables['VS_HTTP_PORT']}") == []


def processes_with(variable: str) -> list[int]:
    """The living processes that were started with this variable: the kernel, and the pods forked from it."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and variable.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_the_notebook_is_kept_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 20_000
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
