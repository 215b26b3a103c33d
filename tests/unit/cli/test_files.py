from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.cli.files import PictureFile, check_id, clashing_names, in_groups, scan_folders
from executors.errors import VisualSearchError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def names_of(folder: Path) -> list[str]:
    return [file.name for file in scan_folders([str(folder)]).files]


def test_pictures_are_found_recursively_by_their_extensions(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.jpeg", "c.PnG", "d.webp", "e.bmp", "f.tif", "g.TIFF", "h.gif", "sub/deep/er/z.jpg")
    touch(tmp_path, "notes.txt", "movie.mp4", "jpg", "x.jpg.bak", "x.svg")
    assert names_of(tmp_path) == [
        "a.jpeg",
        "b.JPG",
        "c.PnG",
        "d.webp",
        "e.bmp",
        "f.tif",
        "g.TIFF",
        "h.gif",
        "sub/deep/er/z.jpg",
    ]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", ".hidden.jpg", ".git/b.jpg", "sub/.thumbs/c.jpg")
    assert names_of(tmp_path) == ["a.jpg"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    os.utime(tmp_path / "a.jpg", ns=(5, 1_234_567_890_123_456_789))
    file = scan_folders([str(tmp_path)]).files[0]
    assert (file.size, file.mtime_ns) == (5, 1_234_567_890_123_456_789)
    assert Path(file.path).read_bytes() == b"a.jpg"


def test_loops_of_links_end(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.jpg")
    (tmp_path / "sub" / "up").symlink_to(tmp_path)
    (tmp_path / "sub" / "itself").symlink_to(tmp_path / "sub" / "itself")
    (tmp_path / "round").symlink_to(tmp_path / "sub" / "round2")
    (tmp_path / "sub" / "round2").symlink_to(tmp_path / "round")
    assert names_of(tmp_path) == ["sub/a.jpg"]


def test_a_folder_reached_twice_is_read_once_by_its_own_path(tmp_path: Path) -> None:
    touch(tmp_path, "z-real/a.jpg")
    (tmp_path / "a-link").symlink_to(tmp_path / "z-real")
    assert names_of(tmp_path) == ["z-real/a.jpg"]


def test_a_linked_folder_from_elsewhere_is_read(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/sub/a.jpg", "photos/b.jpg")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "sub" / "a.jpg")
    assert names_of(tmp_path / "photos") == ["b.jpg", "c.jpg", "link/sub/a.jpg"]


def test_a_link_to_nothing_is_a_fault_not_a_silence(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    scan = scan_folders([str(tmp_path)])
    assert [(file.name, error.code) for file, error in scan.faults] == [
        ("gone.jpg", "unreadable_file"),
        ("loop.jpg", "unreadable_file"),
    ]
    assert scan.files == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_without_permission_is_a_fault(tmp_path: Path) -> None:
    touch(tmp_path, "closed/a.jpg", "open/b.jpg")
    (tmp_path / "closed").chmod(0)
    try:
        scan = scan_folders([str(tmp_path)])
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert [(file.name, error.code) for file, error in scan.faults] == [("closed", "unreadable_file")]
    assert [file.name for file in scan.files] == ["open/b.jpg"]


def test_what_is_no_regular_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    touch(tmp_path, "folder.jpg/inside.jpg")
    assert names_of(tmp_path) == ["folder.jpg/inside.jpg"]


def test_a_name_that_is_not_utf8_is_found_and_refused_as_an_id(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).write_bytes(b"x")
    (name,) = names_of(tmp_path)
    assert os.fsencode(name) == b"caf\xe9.jpg"
    with pytest.raises(VisualSearchError) as caught:
        check_id(name)
    assert caught.value.code == "invalid_id"


def test_an_id_may_have_512_bytes_and_no_more() -> None:
    check_id("ä" * 256)
    with pytest.raises(VisualSearchError) as caught:
        check_id("ä" * 256 + "a")
    assert (caught.value.code, caught.value.details) == ("invalid_id", {"bytes": 513})


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    for name in ("a.jpg", "missing"):
        with pytest.raises(VisualSearchError) as caught:
            scan_folders([str(tmp_path / name)])
        assert caught.value.code == "invalid_parameter"


def test_the_same_folder_given_twice_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "link").symlink_to(tmp_path)
    scan = scan_folders([str(tmp_path), f"{tmp_path}/", str(tmp_path / "link"), f"{tmp_path}/../{tmp_path.name}"])
    assert [file.name for file in scan.files] == ["a.jpg"]


def test_names_of_several_folders_that_clash_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "one/a.jpg", "one/sub/b.jpg", "two/a.jpg", "two/b.jpg")
    scan = scan_folders([str(tmp_path / "one"), str(tmp_path / "two")])
    clashes = clashing_names(scan.files)
    assert [(first.path, second.path) for first, second in clashes] == [
        (str(tmp_path / "one" / "a.jpg"), str(tmp_path / "two" / "a.jpg"))
    ]


@given(st.lists(st.integers(0, 50)), st.integers(1, 5), st.integers(1, 60))
def test_groups_keep_the_order_and_the_limits(sizes: list[int], most: int, most_bytes: int) -> None:
    files = [PictureFile("/f", str(n), size) for n, size in enumerate(sizes)]
    groups = list(in_groups(files, most, most_bytes))
    assert [file for group in groups for file in group] == files
    for group in groups:
        assert 1 <= len(group) <= most
        assert len(group) == 1 or sum(file.size for file in group) <= most_bytes
    for group, following in pairwise(groups):
        assert len(group) == most or sum(file.size for file in group) + following[0].size > most_bytes
