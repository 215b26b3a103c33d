"""Plain ASCII names for unusual paths, such as `/home/Jörg Müller/…`.

Triton starts its stubs by a shell command that it does not quote, the stubs look for numbers among the words of their
command line, and their Python treats paths as ASCII. So the server gets other names for such paths: links in a folder
beside its shared memory, which is removed together with that (guard.py). A link there works even if the folder is
mounted noexec, as it is in containers, and no other program cleans the folder while the server runs, as happens to
/tmp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from executors.triton_server.installation import Installation

_PLAIN: Final = re.compile(r"[A-Za-z0-9/._+-]+")


@dataclass(frozen=True, slots=True)
class ServerPaths:
    """The paths that a server is given instead of the real ones.

    Attributes:
        installation: of its packages.
        models_dir: the model repository.
        library_folders: the folders of its shared libraries, in order.
        home: where its libraries may keep caches.
        links: symbolic links to make first, and their targets.
        files: executable files to write first, and their text.
    """

    installation: Installation
    models_dir: Path
    library_folders: tuple[Path, ...]
    home: Path
    links: Mapping[Path, Path] = field(default_factory=dict)
    files: Mapping[Path, str] = field(default_factory=dict)


def is_plain(path: Path) -> bool:
    """Whether Triton can be given this path as it is."""
    return _PLAIN.fullmatch(str(path)) is not None


def server_paths(installation: Installation, models_dir: Path, folder: Path) -> ServerPaths:
    """Plain names for all paths that need one; nothing is created here.

    Args:
        installation: as it is on the disk.
        models_dir: the model repository.
        folder: plain, private to one life of the server; not used if all paths are plain.
    """
    paths = ServerPaths(installation, models_dir, installation.library_folders, installation.folder)
    if not is_plain(models_dir):
        link = folder / "models"
        paths = replace(paths, models_dir=link, links={link: models_dir})
    interpreter = installation.python.resolve()
    if is_plain(installation.folder) and is_plain(interpreter):
        return paths
    fresh = replace(installation, folder=folder / "triton")
    home, python = folder / "home", folder / "python"
    links = {
        fresh.environment / "lib": installation.environment / "lib",
        fresh.backends: installation.backends,
        fresh.folder / "python-library": installation.folder / "python-library",
        home: installation.folder,
        python: interpreter.parents[1],
    }
    # A stub finds its Python as a virtual environment's `python3` on the search path, which it never runs, only
    # resolves: a link would lead back to the unusual path (CPython, Modules/getpath.py). It ignores PYTHONHOME and
    # PYTHONPATH.
    files = {
        fresh.environment / "pyvenv.cfg": f"home = {python}/bin\n",
        fresh.environment / "bin" / "python3": "",
    }
    libraries = tuple(fresh.folder / each.relative_to(installation.folder) for each in paths.library_folders)
    return ServerPaths(fresh, paths.models_dir, libraries, home, {**paths.links, **links}, files)
