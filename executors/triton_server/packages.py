"""Installs the packages of a managed Triton: once for each lock file, by one process at a time, completely or not at
all.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from executors.errors import VisualSearchError
from executors.triton_server.installation import Installation, Variant, lay_out_backends, update_own_backends
from executors.triton_server.pip_install import install_locked, make_environment

# The platform of the server's wheel (its tag: manylinux_2_35_x86_64).
_LEAST_GLIBC: Final = (2, 35)
_DOWNLOADS: Final[dict[Variant, str]] = {"cpu": "100 MB", "cuda": "2.1 GB"}
_DIGEST_DIGITS: Final = 12
_WAIT_S: Final = 0.2

Progress = Callable[[str], None]


def ensure_packages(folder: Path, variant: Variant, progress: Progress) -> Installation:
    """A Triton server with the packages of this version's lock file, installed if necessary.

    This takes milliseconds if it is installed. Otherwise it is made from the package index (pip's own settings apply:
    index, certificates, proxies), and every file is checked against the lock file's hashes. If another process is
    installing it, this one waits. It is built beside its place and renamed when it is complete.

    Args:
        folder: holds one folder for each lock file that was ever used; made if missing.
        variant: `cuda` for an ONNX Runtime that computes on NVIDIA GPUs.
        progress: gets one line an event.

    Raises:
        VisualSearchError: `triton_failed`: an unsupported platform, no network, a full disk, ….
    """
    lock = lock_file(variant)
    installation = Installation(folder / f"{variant}-{lock_digest(lock)}", variant)
    try:
        if not installation.is_whole():
            check_platform()
            folder.mkdir(parents=True, exist_ok=True)
            with _one_at_a_time(folder / f".{variant}.lock", progress):
                if not installation.is_whole():
                    _build(installation, lock, progress)
        if update_own_backends(installation):
            progress("the ONNX Runtime backend of the managed Triton was brought up to date")
    except OSError as error:
        message = f"the packages of the managed Triton can't be set up: {error.strerror or error}"
        raise VisualSearchError("triton_failed", message) from None
    return installation


def lock_file(variant: Variant) -> Path:
    """The list of packages and hashes; package data."""
    return Path(__file__).with_name(f"requirements-{variant}.lock")


def lock_digest(lock: Path) -> str:
    """The key of an installation: the first digits of the lock file's SHA-256."""
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:_DIGEST_DIGITS]


def check_platform(
    system: str = sys.platform, machine: str = platform.machine(), glibc: str = platform.libc_ver()[1]
) -> None:
    """Refuse a platform that the server's wheel does not support.

    Raises:
        VisualSearchError: `triton_failed`.
    """
    version = tuple(int(part) for part in glibc.split(".")[:2] if part.isdigit())
    if system == "linux" and machine in ("x86_64", "AMD64") and version >= _LEAST_GLIBC:
        return
    found = f"{system}, {machine}" + (f", glibc {glibc}" if glibc else ", no glibc" if system == "linux" else "")
    least = ".".join(str(part) for part in _LEAST_GLIBC)
    message = (
        f"the managed Triton runs on Linux, x86-64, glibc {least} or newer (this is {found}); "
        "VS_EMBED_BACKEND=onnx needs no server, VS_EMBED_BACKEND=triton uses one elsewhere"
    )
    raise VisualSearchError("triton_failed", message)


def _build(installation: Installation, lock: Path, progress: Progress) -> None:
    folder = installation.folder.parent
    variant = installation.variant
    building = f".{variant}-building-"
    for left_behind in folder.glob(f"{building}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    progress(f"setting up Triton ({variant}), once: up to {_DOWNLOADS[variant]} from the package index")
    started = time.monotonic()
    fresh = Installation(Path(tempfile.mkdtemp(prefix=building, dir=folder)), variant)
    try:
        make_environment(fresh.environment)
        install_locked(fresh.python, lock, progress)
        lay_out_backends(fresh)
        fresh.folder.chmod(0o755)
        if not fresh.is_whole():
            raise VisualSearchError("triton_failed", "the packages were installed, but Triton's files are not in them")
        # Only an incomplete installation can be in the way: one from which files were removed.
        shutil.rmtree(installation.folder, ignore_errors=True)
        fresh.folder.rename(installation.folder)
    finally:
        shutil.rmtree(fresh.folder, ignore_errors=True)
    progress(f"Triton ({variant}) is set up, {time.monotonic() - started:.0f} s")


@contextmanager
def _one_at_a_time(file: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock that the kernel frees when its holder dies."""
    handle = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        waited = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    progress("waiting for another process that is setting up Triton's packages")
                waited = True
                time.sleep(_WAIT_S)
        yield
    finally:
        os.close(handle)
