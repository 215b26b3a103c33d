"""The layout of a Triton installation from the package index, and the check that it is complete."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from executors.errors import VisualSearchError

Variant: TypeAlias = Literal["cpu", "cuda"]

_PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
# Our own backends, package data: one folder each, copied unchanged. With a folder `onnxruntime`, Triton uses it for
# every model whose config.pbtxt says `backend: "onnxruntime"`, as NVIDIA's container does with its C++ backend.
OWN_BACKENDS: Final = {"onnxruntime": Path(__file__).with_name("onnxruntime")}


@dataclass(frozen=True, slots=True)
class Installation:
    """One set of packages with a Triton server in it.

    Attributes:
        folder: holds `env/` (a virtual environment) and `backends/`.
        variant: whether its ONNX Runtime computes on the CPU only, or on an NVIDIA GPU as well.
    """

    folder: Path
    variant: Variant

    @property
    def environment(self) -> Path:
        """The virtual environment; only the server and its backends use it."""
        return self.folder / "env"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.environment / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        """The folder of the packages."""
        return self.environment / "lib" / f"python{_PYTHON}" / "site-packages"

    @property
    def server(self) -> Path:
        """The program `tritonserver`."""
        return self.site_packages / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    @property
    def backends(self) -> Path:
        """The folder for `--backend-directory`."""
        return self.folder / "backends"

    @property
    def library_folders(self) -> tuple[Path, ...]:
        """The folders of shared libraries for the server and its stubs, in order.

        The interpreter's own library comes first: a distribution's older libpython of the same minor version would
        otherwise be picked up. Its folder contains only a link to it, so that no other library next to it is found.
        """
        found = [self.folder / "python-library", self.site_packages / "nvidia_pytriton.libs"]
        if self.variant == "cuda":
            found += sorted(self.site_packages.glob("nvidia/*/lib"))
        return tuple(found)

    def is_whole(self) -> bool:
        """Whether all files are there without which nothing starts, including the interpreter that they were made with."""
        needed = (
            self.server,
            self.python,
            self.folder / "python-library" / _libpython_name(),
            self.backends / "python" / "triton_python_backend_stub",
            self.backends / "onnxruntime" / "model.py",
        )
        return all(file.exists() for file in needed)


def lay_out_backends(installation: Installation) -> None:
    """Make `backends/` and `python-library/` of an environment that has the packages.

    Raises:
        OSError: the disk is full, or a file of the packages is missing.
        VisualSearchError: `triton_failed` when this interpreter has no shared library.
    """
    packaged = installation.site_packages / "pytriton" / "tritonserver"
    python = installation.backends / "python"
    shutil.copytree(packaged / "backends" / "python", python)
    stub = python / "triton_python_backend_stub"
    shutil.copyfile(packaged / "python_backend_stubs" / _PYTHON / stub.name, stub)
    stub.chmod(0o755)
    installation.server.chmod(0o755)
    library = installation.folder / "python-library" / _libpython_name()
    library.parent.mkdir()
    library.symlink_to(find_libpython())
    update_own_backends(installation)


def update_own_backends(installation: Installation) -> bool:
    """Update our backends to those of this package; returns whether anything was changed.

    Each file is replaced atomically, never written in place, so that a server that starts meanwhile reads a whole one.

    Raises:
        OSError: the disk is full or read-only.
    """
    changed = False
    for name, source in OWN_BACKENDS.items():
        target = installation.backends / name
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted(source.glob("*.py")):
            copy = target / file.name
            if copy.is_file() and copy.read_bytes() == file.read_bytes():
                continue
            # The name contains this process's id, since several replicas may do this at once.
            fresh = copy.with_suffix(f".{os.getpid()}")
            shutil.copyfile(file, fresh)
            fresh.replace(copy)
            changed = True
    return changed


def find_libpython() -> Path:
    """The running interpreter's shared library, which Triton's stub is linked with.

    Raises:
        VisualSearchError: `triton_failed` if the interpreter was built without one.
    """
    name = _libpython_name()
    folders = [Path(sys.base_prefix) / "lib"]
    configured = sysconfig.get_config_var("LIBDIR")
    if configured:
        folders += [Path(configured), Path(configured) / (sysconfig.get_config_var("MULTIARCH") or "")]
    for folder in folders:
        if (folder / name).is_file():
            return (folder / name).resolve()
    message = (
        f"this Python has no shared library {name}, which Triton's Python backend is linked with "
        f"(Debian and Ubuntu: `apt install libpython{_PYTHON}`; pyenv: build it with --enable-shared)"
    )
    raise VisualSearchError("triton_failed", message)


def _libpython_name() -> str:
    return f"libpython{_PYTHON}.so.1.0"
