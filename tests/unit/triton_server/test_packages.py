"""Installing the server's packages: complete or not at all, one process at a time, with readable errors."""

from __future__ import annotations

import fcntl
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.triton_server.installation import OWN_BACKENDS, Installation, find_libpython
from executors.triton_server.packages import check_platform, ensure_packages, lock_digest, lock_file
from executors.triton_server.pip_install import install_locked, make_environment, reason


def make_whole(folder: Path) -> Installation:
    """An installation with every file that is looked for, all of them empty."""
    made = Installation(folder / f"cpu-{lock_digest(lock_file('cpu'))}", "cpu")
    library = made.folder / "python-library" / find_libpython().name
    for file in (made.server, made.python, made.backends / "python" / "triton_python_backend_stub", library):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    (made.backends / "onnxruntime").mkdir()
    (made.backends / "onnxruntime" / "model.py").write_text("an older one")
    return made


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip reads these settings of the user; no server listens on that address."""
    for name, value in {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_FIND_LINKS": "",
        "PIP_CONFIG_FILE": "/dev/null",
    }.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment") / "env"
    make_environment(folder)
    return folder / "bin" / "python"


def test_what_is_there_is_taken_at_once_and_its_backend_is_that_of_this_version(tmp_path: Path) -> None:
    made = make_whole(tmp_path)
    lines: list[str] = []
    assert ensure_packages(tmp_path, "cpu", lines.append) == made
    for file in OWN_BACKENDS["onnxruntime"].glob("*.py"):
        assert (made.backends / "onnxruntime" / file.name).read_bytes() == file.read_bytes()
    assert len(lines) == 1
    ensure_packages(tmp_path, "cpu", lines.append)
    assert len(lines) == 1


@pytest.mark.parametrize("part", ["server", "python"])
def test_an_installation_with_a_part_missing_is_not_taken(tmp_path: Path, part: str) -> None:
    made = make_whole(tmp_path)
    ensure_packages(tmp_path, "cpu", lambda _: None)
    assert made.is_whole()
    getattr(made, part).unlink()
    assert not made.is_whole()


def test_without_a_network_the_reason_is_said_and_nothing_is_left(
    tmp_path: Path, no_index: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A module of ours by that name would be run in pip's place if PYTHONPATH leaked in.
    (tmp_path / "path" / "pip").mkdir(parents=True)
    (tmp_path / "path" / "pip" / "__init__.py").write_text("raise SystemExit('leaked')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    with pytest.raises(VisualSearchError, match=r"the package index can't be reached for numpy==1.26.4") as caught:
        ensure_packages(tmp_path / "triton", "cpu", lambda _: None)
    assert caught.value.code == "triton_failed"
    assert "Traceback" not in caught.value.message
    assert [each.name for each in (tmp_path / "triton").iterdir()] == [".cpu.lock"]


def test_another_file_than_the_locked_one_is_refused(environment: Path, tmp_path: Path, no_index: None) -> None:
    wheel = tmp_path / "numpy-1.26.4-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("numpy/__init__.py", "stolen = True")
        archive.writestr("numpy-1.26.4.dist-info/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
        archive.writestr(
            "numpy-1.26.4.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("numpy-1.26.4.dist-info/RECORD", "")
    lock = tmp_path / "lock"
    locked = re.search(r"numpy==.*?(?=\n\S)", lock_file("cpu").read_text(), re.DOTALL)
    assert locked is not None
    lock.write_text(f"--no-index\n--find-links {tmp_path}\n{locked[0]}\n")
    with pytest.raises(VisualSearchError, match="DO NOT MATCH THE HASHES"):
        install_locked(environment, lock, lambda _: None)
    assert not list(environment.parents[1].glob("lib/*/site-packages/numpy"))


def test_a_killed_set_up_leaves_nothing_that_looks_whole_and_no_process(tmp_path: Path, no_index: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        # An index that takes the connection and never answers.
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        program = (
            "import os, sys; from pathlib import Path; from executors.triton_server.packages import ensure_packages\n"
            f"os.environ['PIP_INDEX_URL'] = {index!r}\n"
            f"ensure_packages(Path({str(tmp_path)!r}), 'cpu', print)"
        )
        setting_up = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[3])
        silent.settimeout(60)
        asked, _ = silent.accept()
        setting_up.kill()
        setting_up.wait()
        asked.settimeout(5)
        while asked.recv(65536):  # ends when pip has ended; its request comes first
            pass
        asked.close()
    left = {each.name.partition("building")[0] for each in tmp_path.iterdir()}
    assert left == {".cpu.lock", ".cpu-"}
    with pytest.raises(VisualSearchError, match="can't be reached"):
        ensure_packages(tmp_path, "cpu", lambda _: None)
    assert [each.name for each in tmp_path.iterdir()] == [".cpu.lock"]


def test_a_second_set_up_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    with (tmp_path / ".cpu.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=ensure_packages, args=(tmp_path, "cpu", lines.append))
        waiting.start()
        deadline = time.monotonic() + 5
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lines == ["waiting for another process that is setting up Triton's packages"]
        made = make_whole(tmp_path)
    waiting.join(5)
    assert not waiting.is_alive()
    assert made.is_whole()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(VisualSearchError, match="can't be set up: ") as caught:
        ensure_packages(tmp_path / "file" / "triton", "cpu", lambda _: None)
    assert caught.value.code == "triton_failed"


@pytest.mark.parametrize(
    ("system", "machine", "glibc"),
    [("darwin", "arm64", ""), ("linux", "aarch64", "2.36"), ("linux", "x86_64", "2.31"), ("linux", "x86_64", "")],
)
def test_a_platform_that_the_server_was_not_built_for_is_refused(system: str, machine: str, glibc: str) -> None:
    with pytest.raises(VisualSearchError, match=r"glibc 2.35 or newer \(this is ") as caught:
        check_platform(system, machine, glibc)
    assert caught.value.code == "triton_failed"


def test_platforms_that_it_was_built_for_are_taken() -> None:
    check_platform("linux", "x86_64", "2.35")
    check_platform("linux", "x86_64", "2.41")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["Collecting x", "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", ""],
         "Could not install packages due to an OSError: [Errno 28] No space left on device"),
        (["ERROR: Could not find a version that satisfies the requirement numpy==9 (from versions: none)",
          "ERROR: No matching distribution found for numpy==9"], "No matching distribution found for numpy==9"),
        (["killed"], "killed"),
        ([], "no reason given"),
    ],
)  # fmt: skip
def test_the_line_of_pips_that_says_why(lines: list[str], said: str) -> None:
    assert reason(lines) == said


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_a_lock_file_pins_every_package_and_names_no_index(variant: str) -> None:
    folder = lock_file("cpu").parent
    locked = (folder / f"requirements-{variant}.lock").read_text("utf-8")
    wanted = (folder / f"requirements-{variant}.in").read_text("utf-8")
    assert set(re.findall(r"^[\w-]+==[\w.]+", wanted, re.MULTILINE)) == set(
        re.findall(r"^[\w-]+==[\w.]+", locked, re.MULTILINE)
    )
    assert "://" not in locked
    for entry in re.split(r"\n(?=\S)", locked.strip()):
        assert "--hash=sha256:" in entry
