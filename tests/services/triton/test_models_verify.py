"""`visual-search models verify --triton`, against a real server."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from executors.cli import main
from executors.devices import CPU
from executors.triton_server.installation import Installation
from executors.triton_server.server import TritonServer
from tests.support.models.two_towers import TWO_TOWERS, write_two_towers

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]

Output = pytest.CaptureFixture[str]
# An entry for each way in which a server's model can be another one than the local one.
SAME, OTHER_WEIGHTS, OTHER_MODEL, NOT_LOADED = TWO_TOWERS, "forged", "newer", "unloaded"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The expected entries."""
    folder = tmp_path_factory.mktemp("local") / "models"
    for name in (SAME, OTHER_WEIGHTS, OTHER_MODEL, NOT_LOADED):
        write_two_towers(folder, name)
    return folder


@pytest.fixture(scope="module")
def server(
    triton_installation: Installation, local: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A server with the same entries, except for two."""
    served = tmp_path_factory.mktemp("served") / "models"
    shutil.copytree(local, served)
    turned = tmp_path_factory.mktemp("turned") / "models"
    for name in (OTHER_WEIGHTS, OTHER_MODEL):
        write_two_towers(turned, name, seed=1)
    shutil.copy(turned / OTHER_WEIGHTS / "1" / "model.onnx", served / OTHER_WEIGHTS / "1" / "model.onnx")
    shutil.rmtree(served / OTHER_MODEL)
    shutil.copytree(turned / OTHER_MODEL, served / OTHER_MODEL)
    models = [entry for name in (SAME, OTHER_WEIGHTS, OTHER_MODEL) for entry in (name, f"{name}-text")]
    running = TritonServer(
        triton_installation,
        models_dir=served,
        models=models,
        device=CPU,
        threads=1,
        logs_dir=tmp_path_factory.mktemp("logs"),
        name="verify",
    )
    running.start()
    try:
        _wait_ready(running.url, models)
        yield running
    finally:
        running.stop()


def _wait_ready(url: str, models: list[str]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with triton.InferenceServerClient(url) as client, suppress(InferenceServerException):
            if all(client.is_model_ready(name) for name in models):
                return
        time.sleep(0.1)
    raise AssertionError("the server did not load its models in time")


@pytest.fixture(autouse=True)
def repository(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VS_MODELS_DIR", str(local))


def test_a_server_with_the_same_model_passes_with_both_towers(server: TritonServer, capsys: Output) -> None:
    assert main(["models", "verify", SAME, "--triton", server.url, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["ok"], report["triton"]) == (True, server.url)
    assert [(tower["name"], tower["result"]) for tower in report["towers"]] == [
        (SAME, "same"), (f"{SAME}-text", "same"),
    ]  # fmt: skip
    assert all(tower["least_cosine"] > 0.999 for tower in report["towers"])


def test_other_weights_under_the_right_id_are_found(server: TritonServer, capsys: Output) -> None:
    assert main(["models", "verify", OTHER_WEIGHTS, "--triton", server.url]) == 1
    shown = capsys.readouterr().out
    assert f"{OTHER_WEIGHTS}: the least cosine is" in shown
    assert f"{OTHER_WEIGHTS} does not answer as stored (the Triton server {server.url})" in shown


def test_a_model_with_another_id_is_found(server: TritonServer, capsys: Output) -> None:
    assert main(["models", "verify", OTHER_MODEL, "--triton", server.url]) == 1
    assert f"the server's model '{OTHER_MODEL}' is {OTHER_MODEL}@" in capsys.readouterr().out


def test_a_model_that_is_not_loaded_is_not_there(server: TritonServer, capsys: Output) -> None:
    assert main(["models", "verify", NOT_LOADED, "--triton", server.url]) == 3
    assert "has not loaded" in capsys.readouterr().err
