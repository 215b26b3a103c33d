"""The first bytes of a file identify it as a supported picture, a kind with a name, or unknown; its name does not
count.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.preprocess.header import FIRST_BYTES, name_unread, read_header, recognise
from tests.support.pictures.image_files import photo, pillow, tiff
from tests.support.pictures.image_samples import SAMPLES, sample

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_bytes_say_what_the_whole_file_is(name: str) -> None:
    data = sample(name)
    assert recognise(data[:FIRST_BYTES]) == read_header(data).format
    assert name_unread(data[:FIRST_BYTES]) is None


@pytest.mark.parametrize(
    ("first_bytes", "kind"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1", "PSD"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"\xef\xbb\xbf  <svg>", "SVG"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>", "XML (XMP, AAE and the like)"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "video (MP4, MOV, …)"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0qt  ", "video (MP4, MOV, …)"),
        (b"\x1aE\xdf\xa3", "video (MP4, MOV, …)"),
        (b"\0\0\0\x18ftypM4A \0\0\2\0M4A isom", "audio"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw (CR2, NEF, DNG, …)"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(40), "camera raw (CR2, NEF, DNG, …)"),
        (tiff(160, 96, [b""], tags=[(50706, 1, [1, 4, 0, 0])]), "camera raw (CR2, NEF, DNG, …)"),
        (tiff(160, 96, [b""], tags=[(254, 4, [1]), (330, 4, [8])]), "camera raw (CR2, NEF, DNG, …)"),
        (b"\0\0\1\0\1\0\x10\x10\0\0\1\0\x20\0", "icon (ICO, CUR, ICNS)"),
        (b"P6\n160 96\n255\n", "PNM (PBM, PGM, PPM, PAM, PFM)"),
        (b"PK\3\4", "archive or office document"),
        (b"DDS |", "DDS"),
    ],
)
def test_what_is_known_and_not_read_has_a_name(first_bytes: bytes, kind: str) -> None:
    assert name_unread(first_bytes) == kind
    assert recognise(first_bytes) is None
    with pytest.raises(VisualSearchError, match="unsupported_format"):
        read_header(first_bytes)


@pytest.mark.parametrize("first_bytes", [b"", b"x", b"BMW is a make of cars, and so on", b"P is a letter", bytes(64)])
def test_what_is_unknown_has_none(first_bytes: bytes) -> None:
    assert name_unread(first_bytes) is None
    assert recognise(first_bytes) is None


def test_a_reduced_first_page_without_others_is_a_picture() -> None:
    assert recognise(tiff(160, 96, [photo().tobytes()], tags=[(254, 4, [1])])) == "tiff"


def test_several_pictures_in_one_jpeg_are_a_jpeg() -> None:
    assert recognise(pillow(photo(), "MPO")) == "jpeg"


def test_looking_at_files_imports_neither_jina_nor_decoders() -> None:
    script = "import sys, executors.preprocess.header; print([m for m in ('jina', 'cv2', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
