from __future__ import annotations

import pytest

from executors.cli.index.kinds import file_kind
from tests.support.pictures.pictures import encode, scene


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tif"])
def test_a_picture_is_one_under_any_name(extension: str) -> None:
    content = encode(scene(1), extension)[:4096]
    for name in ("", "x.txt", "x.mov", "x.jpg"):
        assert file_kind(content, name).is_read


@pytest.mark.parametrize(
    ("name", "content", "kind", "is_missed"),
    [
        ("a.dng", b"II*\0\x08\0\0\0", "camera raw (CR2, NEF, DNG, …)", True),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "camera raw (CR2, NEF, DNG, …)", True),
        ("a.jpg", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video (MP4, MOV, …)", True),
        ("a.m2ts", b"\0\0\0\0G\0\0\0", "video (MP4, MOV, …)", True),
        ("a.mov", b"", "video (MP4, MOV, …)", True),
        ("a.tga", b"\0\0\2\0\0\0\0\0\0\0\0\0\x10\0\x10\0\x18\0", "TGA", True),
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG", True),
        # Texts are none of what their names could stand for.
        ("a.hdr", b"samples = 100", ".hdr", False),
        ("a.mpg", b"consumption of petrol", ".mpg", False),
        ("a.pdf", b"%PDF-1.7", "PDF", False),
        ("a.xmp", b'<?xpacket begin=""?>', "XML (XMP, AAE and the like)", False),
        ("note.txt", b"BMW", ".txt", False),
        ("Makefile", b"all:", "other file", False),
        ("odd.na me", b"\0", "other file", False),
    ],
)
def test_what_is_not_read_has_a_kind(name: str, content: bytes, kind: str, is_missed: bool) -> None:
    found = file_kind(content, name)
    assert (found.name, found.is_read, found.is_missed) == (kind, False, is_missed)
