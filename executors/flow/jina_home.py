"""Imports Jina even if the user's home can't be written. Jina makes a cache folder there on import, and fails if it can't."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from executors.flow.paths import is_flow_path


def import_jina() -> None:
    """Import Jina, and let it accept flow files in any folder.

    If the home can't be written, Jina's cache, which this project does not use, is a temporary folder.
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

    # Jina's own function accepts only letters, digits and a few signs in a path, but no space and no bracket.
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
