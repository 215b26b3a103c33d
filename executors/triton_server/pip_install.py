"""Runs venv and pip for the managed Triton, and reports a failure in one line."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError

# `-I`: neither PYTHONPATH nor the user's site-packages are used; pip's own variables and files still apply. pip ends
# with its parent (prctl 1 is PR_SET_PDEATHSIG, 9 is SIGKILL), so that a killed installation does not keep downloading.
_RUN_PIP: Final = (
    "import ctypes, runpy, sys; ctypes.CDLL(None).prctl(1, 9); sys.argv[0] = 'pip'; "
    "runpy.run_module('pip', run_name='__main__')"
)
_NEWS: Final = re.compile(r"\s*(Downloading|Using cached|Installing collected packages:) ?(.*)")
_NO_CONNECTION: Final = re.compile(r"connection broken by '(\w+)")
_NOTHING_FOUND: Final = re.compile(r"satisfies the requirement (\S+) \(from versions: none\)")


def make_environment(folder: Path) -> None:
    """Make a virtual environment of the running interpreter's base, with pip.

    Raises:
        VisualSearchError: `triton_failed`.
    """
    lines = _run([sys.executable, "-I", "-m", "venv", str(folder)], lambda _: None)
    if lines is not None:
        message = f"a virtual environment for Triton can't be made: {_last(lines)}"
        if any("ensurepip" in line for line in lines):
            message = "this Python has no `venv` with pip (Debian and Ubuntu: `apt install python3-venv`)"
        raise VisualSearchError("triton_failed", message)


def install_locked(python: Path, lock: Path, progress: Callable[[str], None]) -> None:
    """Install exactly the packages of a lock file into an environment, then remove pip from it.

    Raises:
        VisualSearchError: `triton_failed`, with the line of pip's output that gives the reason.
    """
    options = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--no-user"]
    quiet = ["--no-input", "--progress-bar", "off", "--disable-pip-version-check"]
    failed = _run([str(python), "-I", "-c", _RUN_PIP, "install", *quiet, *options, "-r", str(lock)], progress)
    if failed is not None:
        raise VisualSearchError("triton_failed", f"Triton's packages can't be installed: {reason(failed)}")
    # The server does not need pip, whose scripts contain the path that the environment had while it was built.
    _run([str(python), "-I", "-m", "pip", "uninstall", "--yes", "--quiet", "pip", "setuptools"], lambda _: None)


def reason(lines: Sequence[str]) -> str:
    """The line of pip's output that tells a person why it failed.

    Without a network, pip's last line is about a version that does not exist; the address that it could not reach is
    the reason then.
    """
    text = "\n".join(lines)
    nothing = _NOTHING_FOUND.search(text)
    broken = _NO_CONNECTION.findall(text)
    if nothing and broken:
        return f"the package index can't be reached for {nothing[1]} ({broken[-1]})"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return _last(errors or lines).removeprefix("ERROR:").strip()


def _run(command: Sequence[str], progress: Callable[[str], None]) -> list[str] | None:
    """Run a command to its end; None if it succeeded, otherwise its output, including standard error."""
    lines: list[str] = []
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if news := _NEWS.match(line):
                progress(f"{news[1].lower()} {news[2]}".strip())
    return lines if process.returncode else None


def _last(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
