"""Imports Jina also where the user's home can't be written: it makes a cache folder there when it is imported, or fails."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from executors.flow.paths import is_flow_path


def import_jina() -> None:
    """Import Jina, and have it take flow files from whatever folder they are in.

    Its cache, which nothing of ours uses, is a temporary folder where the home has no room for it.
    """
    if not _is_writable(Path(os.path.expanduser("~")) / ".cache" / "jina"):  # noqa: PTH111 - as Jina does it, also without HOME
        home = os.environ.get("HOME")
        folder = tempfile.mkdtemp(prefix="visual-search-jina-")
        atexit.register(_remove, folder, os.getpid())
        os.environ["HOME"] = folder
        try:
            import jina.constants
        finally:
            os.environ.pop("HOME") if home is None else os.environ.update(HOME=home)
    import jina.jaml.helper

    # Jina's own takes only letters, digits and a few signs for those of a path: no space, and no bracket.
    jina.jaml.helper.is_yaml_filepath = is_flow_path


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
