"""A managed Triton runs wherever its packages and models lie, and says why when it can't."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from executors.triton_server import guard
from executors.triton_server.ascii_paths import is_plain
from executors.triton_server.installation import Installation
from tests.support.triton.managed_triton import (
    OWNER,
    Start,
    embed,
    parent_of,
    random_pictures,
    regions,
    until,
    wait_ready,
    write_scaling_entry,
)

pytestmark = [pytest.mark.services, pytest.mark.timeout(120)]


def copy_of(installation: Installation, folder: Path) -> Installation:
    """The same packages at another place."""

    def link_or_copy(source: str, target: str) -> None:
        # What a test may write to is never shared.
        if Path(source).stat().st_size > 1_000_000 and Path(source).suffix == ".so":
            with suppress(OSError):  # another disk
                os.link(source, target)
                return
        shutil.copy2(source, target)

    shutil.copytree(
        installation.folder,
        folder,
        symlinks=True,
        copy_function=link_or_copy,
        ignore=shutil.ignore_patterns(".cache", "__pycache__"),
    )
    return Installation(folder, installation.variant)


def folders_of_links() -> list[Path]:
    return list(guard.SHARED_MEMORY.glob(f"{guard.PREFIX}{os.getpid()}-*-paths"))


@pytest.mark.parametrize("name", ["tri tön", "trön", "mit leer", "日本", "it's $HOME; (a)"])
def test_it_runs_where_the_packages_lie_at_an_unusual_place(
    start: Start, triton_installation: Installation, tmp_path: Path, name: str
) -> None:
    server = start(installation=copy_of(triton_installation, tmp_path / name))
    wait_ready(server.url)
    assert embed(server.url, random_pictures(2)).shape == (2, 1280)
    server.stop()
    assert folders_of_links() == []


@pytest.mark.parametrize("name", ["m_ö", "mödels mit leer 日本", "it's $HOME; (a)"])
def test_it_serves_models_at_an_unusual_place(start: Start, tmp_path: Path, name: str) -> None:
    repository = tmp_path / name
    write_scaling_entry(repository, "mine", scale={1: 1.0})
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    assert embed(server.url, np.full((1, 8, 8, 3), 5, np.uint8), "mine").tolist() == [[5.0] * 3]
    server.stop()
    assert folders_of_links() == []


def test_it_serves_a_model_with_external_weights_in_an_unusual_folder(start: Start, tmp_path: Path) -> None:
    repository = tmp_path / "mödels mit leer"
    write_scaling_entry(repository, "mine", scale={1: 3.0})
    file = repository / "mine" / "1" / "model.onnx"
    model = onnx.load(file)
    # Only raw data is put into a file of its own.
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array([3], np.float32), "factor"))
    onnx.save(model, file, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (file.parent / "weights.bin").is_file()
    server = start(repository, ("mine",))
    wait_ready(server.url, "mine")
    assert embed(server.url, np.full((1, 8, 8, 3), 5, np.uint8), "mine").tolist() == [[15.0] * 3]


def test_it_runs_with_an_interpreter_at_an_unusual_place(
    start: Start, triton_installation: Installation, tmp_path: Path
) -> None:
    moved = copy_of(triton_installation, tmp_path / "triton")
    real = moved.python.resolve()
    python = tmp_path / "Jörg Müller" / "bin" / real.name
    python.parent.mkdir(parents=True)
    shutil.copy2(real, python)
    (tmp_path / "Jörg Müller" / "lib").symlink_to(real.parents[1] / "lib")
    link = next(each for each in moved.python.parent.iterdir() if each.is_symlink() and each.readlink().is_absolute())
    link.unlink()
    link.symlink_to(python)
    (moved.environment / "pyvenv.cfg").unlink()
    (moved.environment / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    assert not is_plain(moved.python.resolve())
    server = start(installation=moved)
    wait_ready(server.url)
    assert embed(server.url, random_pictures(1)).shape == (1, 1280)


def test_links_to_an_unusual_folder_end_with_their_owner_and_return_with_a_restart(
    start: Start, triton_installation: Installation, models_dir: Path, tmp_path: Path
) -> None:
    moved = copy_of(triton_installation, tmp_path / "tri tön")
    server = start(installation=moved)
    wait_ready(server.url)
    (links,) = folders_of_links()
    for pid in (server.status()["pid"], parent_of(server.status()["pid"])):
        os.kill(pid, signal.SIGKILL)
    until(lambda: server.status()["restarts"] == 1 and server.status()["pid"])
    wait_ready(server.url)
    assert not links.exists()
    assert len(folders_of_links()) == 1

    command = [sys.executable, "-c", OWNER, *map(str, [moved.folder, models_dir, tmp_path])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as owner:
        assert owner.stdout is not None
        url, _ = owner.stdout.readline().split()
        wait_ready(url)
        assert any(name.endswith("-paths") for name in regions(owner.pid))
        owner.kill()
        until(lambda: not regions(owner.pid), 5)
    assert moved.is_whole(), "the links are removed, not what they lead to"


@pytest.mark.parametrize(
    ("stub", "why"),
    [
        ("#!/nowhere/interpreter\n", "/backends/python/triton_python_backend_stub: "),
        ("#!/bin/sh\nexit 3\n", "ended at its start (its log: embed-0.log)"),
        ("#!/bin/sh\nkill -9 $$\n", "ended at its start (its log: embed-0.log)"),
    ],
)
def test_a_stub_that_cannot_start_is_a_failure_and_is_not_waited_for(
    start: Start, triton_installation: Installation, tmp_path: Path, stub: str, why: str
) -> None:
    broken = copy_of(triton_installation, tmp_path / "triton")
    file = broken.backends / "python" / "triton_python_backend_stub"
    file.unlink()
    file.write_text(stub)
    file.chmod(0o755)
    failure = until(start(installation=broken).failure, 60)
    assert failure.code == "triton_failed"
    assert "a process that it needs to serve a model ended at its start" in failure.message
    assert why in failure.message
    assert "embed-0.log" in failure.message
