from __future__ import annotations

import cv2
import numpy as np
import pytest

from executors.cli.index import shrinking
from executors.cli.index.shrinking import MAX_SIDE, MIN_BYTES, shrink, small_picture
from executors.demo.changes import read_upright, with_orientation
from executors.preprocess.header import ImageLimits, read_header
from tests.support.pictures.pictures import encode, scene


def large_photo(height: int = 1200, width: int = 1733, extension: str = ".jpg") -> bytes:
    """A picture with detail, so that it has bytes worth saving."""
    image = scene(3, height, width)
    noise = np.random.default_rng(0).integers(0, 40, image.shape, np.uint8)
    # OpenCV writes WebP without loss, and for seconds, unless it is given a quality.
    parameters = (cv2.IMWRITE_WEBP_QUALITY, 90) if extension == ".webp" else (cv2.IMWRITE_JPEG_QUALITY, 90)
    return cv2.imencode(extension, cv2.add(image, noise), parameters)[1].tobytes()


@pytest.mark.parametrize("extension", [".jpg", ".png", ".webp", ".bmp", ".tiff"])
def test_a_large_photo_becomes_a_small_jpeg_of_the_same_look(extension: str) -> None:
    blob = large_photo(extension=extension)
    small = shrink(blob)
    header = read_header(small)
    assert (header.format, header.upright_size) == ("jpeg", (709, MAX_SIDE))
    assert len(small) < len(blob) / 2
    expected = cv2.resize(read_upright(blob), (MAX_SIDE, 709), interpolation=cv2.INTER_AREA)
    assert np.abs(read_upright(small).astype(int) - expected).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_copy_stands_upright_whatever_the_camera_did(orientation: int) -> None:
    blob = with_orientation(large_photo(), orientation)
    small = shrink(blob)
    header = read_header(small)
    assert header.orientation == 1
    assert len(small) < len(blob)
    height, width = header.upright_size
    expected = cv2.resize(read_upright(blob), (width, height), interpolation=cv2.INTER_AREA)
    assert (height < width) == (orientation < 5)
    assert np.abs(read_upright(small).astype(int) - expected).mean() < 4


def test_a_picture_of_few_pixels_or_few_bytes_is_sent_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (700, 1000, 3), np.uint8)
    few_pixels = encode(noise, ".png")
    assert len(few_pixels) > MIN_BYTES
    few_bytes = encode(np.full((2000, 3000, 3), 7, np.uint8))
    assert len(few_bytes) < MIN_BYTES
    for blob in (few_pixels, few_bytes):
        assert shrink(blob) is blob


def test_a_picture_with_transparency_is_sent_as_it_is() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 1100, 4), np.uint8)
    blob = cv2.imencode(".png", pixels)[1].tobytes()
    assert shrink(blob) is blob


@pytest.mark.parametrize(
    "blob",
    [
        large_photo()[: MIN_BYTES + 1000],
        b"\xff\xd8\xff" + b"x" * 2 * MIN_BYTES,
        b"<html>" * MIN_BYTES,
        b"",
    ],
    ids=["cut off", "no header", "no picture", "empty"],
)
def test_what_is_damaged_is_left_to_the_service(blob: bytes) -> None:
    assert shrink(blob) is blob
    assert small_picture(blob) is None


def test_a_picture_of_too_many_pixels_is_sent_to_the_service_undecoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blob = large_photo()
    assert shrink(blob) is not blob
    monkeypatch.setattr(shrinking, "_LIMITS", ImageLimits(max_bytes=1 << 40, max_pixels=1_000_000, max_side=65_535))
    assert shrink(blob) is blob
    assert small_picture(blob) is None


def test_a_copy_that_is_not_smaller_is_not_sent() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1060, 1060, 3), np.uint8)
    blob = encode(noise, quality=20)
    assert len(blob) > MIN_BYTES
    assert shrink(blob) is blob


def test_a_picture_for_a_page_is_small_and_upright() -> None:
    picture = small_picture(with_orientation(large_photo(), 6))
    assert picture is not None
    assert len(picture) < 50_000
    height, width = read_header(picture).upright_size
    assert (height, width) == (448, 310)
