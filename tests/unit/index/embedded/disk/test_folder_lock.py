"""One process holds a folder at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.index.embedded.disk.folder_lock import LOCK_NAME, FolderLock, make_folder

HOLD = """
import sys
from pathlib import Path
from executors.index.embedded.disk.folder_lock import FolderLock
FolderLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def refused(folder: Path) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as error:
        FolderLock(folder).acquire()
    return error.value


def test_a_second_lock_in_the_same_process_is_refused_and_names_it(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    error = refused(tmp_path)
    assert error.code == "store_locked"
    assert error.details == {"holder": os.getpid(), "folder": str(tmp_path)}
    assert str(os.getpid()) in error.message
    lock.release()
    lock.release()
    FolderLock(tmp_path).acquire()


def test_another_process_is_refused_until_the_holder_dies_even_by_sigkill(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert refused(tmp_path).details == {"holder": holder.pid, "folder": str(tmp_path)}
    finally:
        holder.kill()
        holder.communicate()
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    lock.release()


def test_a_lock_file_without_a_name_still_refuses(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()
    os.truncate(tmp_path / LOCK_NAME, 0)
    assert refused(tmp_path).details == {"holder": None, "folder": str(tmp_path)}
    lock.release()


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_can_not_be_made_is_storage_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(VisualSearchError) as error:
        make_folder(tmp_path / "file" / "folder")
    assert error.value.code == "storage_unavailable"
    assert str(tmp_path) in error.value.message
    with pytest.raises(VisualSearchError) as error:
        FolderLock(tmp_path / "absent").acquire()
    assert error.value.code == "storage_unavailable"
