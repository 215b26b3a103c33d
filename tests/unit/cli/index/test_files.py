from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.cli.index.files import PictureFile, check_id, clashing_names, in_groups, scan_folders
from executors.cli.index.selection import Selection
from executors.errors import VisualSearchError

JPEG = b"\xff\xd8\xff\xe0\0\x10JFIF\0"


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


def test_links_out_of_the_folder_are_followed_when_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/sub/a.jpg", "photos/b.jpg", "photos/sub/d.jpg")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "c.jpg").symlink_to(tmp_path / "elsewhere" / "sub" / "a.jpg")
    (tmp_path / "photos" / "within.jpg").symlink_to("sub/d.jpg")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path)
    scan = scan_folders([str(tmp_path / "photos")])
    assert [file.name for file in scan.files] == ["b.jpg", "within.jpg", "sub/d.jpg"]
    assert sorted(each.file.name for each in scan.left_out) == ["c.jpg", "link"]
    assert scan.left_out_by_kind == {"link out of the folder": 2}
    followed = scan_folders([str(tmp_path / "photos")], Selection(follow=True))
    assert [file.name for file in followed.files] == ["b.jpg", "c.jpg", "within.jpg", "sub/d.jpg", "link/sub/a.jpg"]


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


def test_what_is_not_there_is_refused_by_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    for name in ("missing", "a.jpg/b.jpg"):
        with pytest.raises(VisualSearchError, match="there is no file or folder .*" + name) as caught:
            scan_folders([str(tmp_path), str(tmp_path / name)])
        assert caught.value.code == "invalid_parameter"


@pytest.mark.parametrize("typed", ["", "{}/a.jpg/", "{}/a.jpg/."])
def test_an_empty_path_is_not_the_current_folder_nor_a_file_with_a_slash_a_file(
    tmp_path: Path, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VisualSearchError) as raised:
        scan_folders([typed.format(tmp_path)])
    assert raised.value.code == "invalid_parameter"
    assert repr(typed.format(tmp_path)) in raised.value.message


def test_a_file_is_taken_with_its_name_as_id_and_only_once(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.jpg", "sub/.hidden.jpg", "sub/named.txt", "b.jpg")
    (tmp_path / "link.jpg").symlink_to("sub/a.jpg")
    paths = [str(tmp_path / name) for name in ("sub/a.jpg", "sub/.hidden.jpg", "sub/named.txt", "link.jpg")]
    scan = scan_folders(paths)
    names = {(file.folder, file.name) for file in scan.files}
    sub = str(tmp_path / "sub")
    assert names == {(sub, "a.jpg"), (sub, ".hidden.jpg"), (sub, "named.txt"), (str(tmp_path), "link.jpg")}
    assert scan.folders == []
    both = scan_folders([str(tmp_path / "b.jpg"), str(tmp_path), str(tmp_path / "b.jpg")])
    assert [file.name for file in both.files] == ["b.jpg", "link.jpg", "sub/a.jpg"]


@pytest.mark.parametrize("name", ["pipe.jpg", "device"])
def test_a_named_pipe_or_device_is_a_fault_at_once(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    scan = scan_folders([str(path)])
    assert [(file.name, error.code) for file, error in scan.faults] == [(name, "unreadable_file")]
    assert "not a regular file" in scan.faults[0][1].message


def test_the_first_bytes_decide_and_not_the_name(tmp_path: Path) -> None:
    contents = {
        "no-ending": JPEG,
        "IMG_1.dat": JPEG,
        "live.mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
        "shot.nef": b"II*\0\x08\0\0\0",
        "scan": b"II*\0\x08\0\0\0",
        "layers.psd": b"8BPS\0\1",
        "old.tga": b"\0\0\2\0\0\0\0\0\0\0\0\0",
        "IMG_1.aae": b'<?xml version="1.0"?><plist></plist>',
        "notes.txt": b"BM is how a bitmap begins",
        "bm": b"BMW",
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    scan = scan_folders([str(tmp_path)])
    assert [file.name for file in scan.files] == ["IMG_1.dat", "no-ending", "scan"]
    missed = {each.file.name for each in scan.left_out if each.is_missed}
    assert missed == {"live.mov", "shot.nef", "layers.psd", "old.tga"}
    assert scan.left_out_by_kind.total() == len(contents) + 1 - 3
    assert scan.left_out_by_kind[".txt"] == 1
    assert scan.left_out_by_kind["pipe, socket or device"] == 1


def test_system_folders_are_left_out_whatever_their_case(tmp_path: Path) -> None:
    folders = ["@eaDir", ".thumbnails", "#recycle", "$RECYCLE.BIN", "$Recycle.Bin", "lost+found", ".stversions"]
    folders += ["System Volume Information", "__MACOSX", "Catalog Previews.lrdata", "A.photoslibrary/resources"]
    touch(tmp_path, *(f"{each}/a.jpg" for each in folders), "A.photoslibrary/originals/0/b.jpg", "originals/c.jpg")
    scan = scan_folders([str(tmp_path)])
    assert [file.name for file in scan.files] == ["A.photoslibrary/originals/0/b.jpg", "originals/c.jpg"]
    assert {each.file.name for each in scan.left_out} == set(folders)
    assert len(scan_folders([str(tmp_path)], Selection(everything=True)).files) == len(folders) + 2
    # A folder that is asked for by its name is read.
    assert names_of(tmp_path / "@eaDir") == ["a.jpg"]


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


def test_a_link_that_can_t_be_followed_is_a_fault(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    scan = scan_folders([str(tmp_path)])
    assert [file.name for file in scan.files] == ["a.jpg"]
    assert [(file.name, error.code) for file, error in scan.faults] == [("long.jpg", "unreadable_file")]


def test_a_photo_library_that_is_asked_for_itself_has_its_originals_only(tmp_path: Path) -> None:
    library = tmp_path / "Photos Library.photoslibrary"
    touch(library, "originals/0/a.jpg", "resources/derivatives/a.jpg", "private/b.jpg")
    assert names_of(library) == ["originals/0/a.jpg"]
    assert len(scan_folders([str(library)], Selection(everything=True)).files) == 3


@pytest.mark.parametrize("order", [1, -1])
def test_a_file_of_two_folders_or_named_besides_is_taken_once(tmp_path: Path, order: int) -> None:
    touch(tmp_path, "b.jpg", "sub/a.jpg", "sub/.hidden/c.jpg", "sub/notes.txt")
    (tmp_path / "sub" / "gone.jpg").symlink_to("nothing")
    paths = ["", "sub", "sub/a.jpg", "sub/.hidden"][::order]
    scan = scan_folders([str(tmp_path / each) for each in paths])
    found = sorted(str(Path(file.path).relative_to(tmp_path)) for file in scan.files)
    assert found == ["b.jpg", "sub/.hidden/c.jpg", "sub/a.jpg"]
    assert {file.name for file in scan.files} == {"b.jpg", "sub/a.jpg", "c.jpg"}
    assert [file.name for file, _ in scan.faults] == ["sub/gone.jpg"]
    assert sorted(each.file.name for each in scan.left_out) == ["sub/.hidden", "sub/notes.txt"]
