"""Beside Pillow: every odd picture that is accepted looks as in Pillow, every other one is refused with the right code."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from executors.errors import VisualSearchError
from executors.preprocess.decode import configure_opencv, decode
from executors.preprocess.header import ImageLimits, check_limits, read_header
from tests.support.image_files import photo, pillow, png, png_chunk, tiff, transparent_photo
from tests.support.image_samples import SAMPLES, sample

PICTURES = Path(__file__).resolve().parents[4] / "shared" / "data" / "pictures"
LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_side=16_384)
FILES = sorted(path.relative_to(PICTURES).as_posix() for path in PICTURES.rglob("*") if path.is_file())
# Mean and largest difference of a sample: rounding, where both decode without loss; and other inverse transforms.
LOSSLESS = (0.6, 2)
LOSSY = (1.0, 12)
LOSSY_FORMATS = {"JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JPEG2000", "JXL"}

# What is not read, by the ending that these files do have rightly.
UNREAD = {
    "tga",
    "dds",
    "psd",
    "pcx",
    "sgi",
    "qoi",
    "ico",
    "ppm",
    "pgm",
    "pbm",
    "im",
    "eps",
    "blp",
    "md",
    "txt",
    "LICENSE",
}
REFUSED = {
    "unsupported_format": {
        "found": (),
        "pillow": (
            "10ct_32bit_128.tiff",
            "12bit.cropped.tif",
            "16_bit_binary_pgm.tiff",
            "16bit.s.tif",
            "separate_planar_extra_samples.tiff",
            "bmp/q/rgb24jpeg.bmp",
            "bmp/q/rgb24png.bmp",
        ),
    },
    "image_too_many_pixels": {"pillow": ("bmp/b/reallybig.bmp", "l2rgb_read.bmp")},
    "undecodable_image": {
        "pillow": (
            "00r0_gray_l.jp2",
            "balloon_eciRGBv2_aware.jp2",
            "bmp/b/badbitcount.bmp",
            "bmp/b/badpalettesize.bmp",
            "bmp/b/badwidth.bmp",
            "bmp/b/shortfile.bmp",
            "broken_data_stream.png",
            "ultrahdr.jpg",
            "unbound_variable.jp2",
            "zero_height.j2k",
            "zero_width.gif",
            "libtiff_segfault.tif",
            "seek_too_large.tif",
        )
    },
}
REFUSALS = {
    f"{folder}/{name}": code for code, folders in REFUSED.items() for folder, names in folders.items() for name in names
}
# Broken on purpose by those who look for crashes of decoders.
BROKEN = ("crash-", "oom-")
# Good pictures, or good as far as their pixels go, that Pillow refuses: here stands why.
NOT_BY_PILLOW = {
    "found/webp-in-tiff.tif": "WebP in TIFF",
    "pillow/hopper_webp.tif": "WebP in TIFF",
    "pillow/apng/chunk_no_fctl.png": "later frames",
    "pillow/png_decompression_dos.png": "a text",
    "pillow/unknown_compression_method.png": "a text",
    "pillow/bmp/g/rgb32bf.bmp": "masks",
    "pillow/bmp/q/rgb16-231.bmp": "masks",
    "pillow/bmp/q/rgba16-4444.bmp": "masks",
    "pillow/bmp/q/rgba32abf.bmp": "masks",
    "pillow/bmp/q/pal2.bmp": "2 bits",
    "pillow/bmp/q/pal8os2v2-16.bmp": "a short header",
    "pillow/bmp/q/pal8oversizepal.bmp": "a long palette",
}


@pytest.fixture(autouse=True, scope="module")
def _quiet_opencv() -> None:
    configure_opencv()


def ours(data: bytes) -> NDArray[np.uint8] | str:
    """The picture, or the code of the refusal."""
    try:
        header = read_header(data)
        check_limits(header, LIMITS)
        return decode(data, header)
    except VisualSearchError as error:
        return error.code


def by_pillow(data: bytes) -> tuple[NDArray[np.uint8], str]:
    """The picture as Pillow shows it (upright, in sRGB, on white), and its format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Image.open(io.BytesIO(data))
        image.load()
        upright = ImageOps.exif_transpose(image)
    profile = image.info.get("icc_profile")
    if upright.mode.startswith("I;16"):
        upright = Image.fromarray(np.rint(np.asarray(upright).astype(float) / 257).astype(np.uint8))
    opacity: Image.Image | None = None
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        opacity, upright = rgba.getchannel("A"), rgba.convert("RGB")
    if upright.mode == "LAB":
        upright = _convert(upright, ImageCms.createProfile("LAB"))
    elif profile:
        grey = profile[16:20] == b"GRAY"
        source = upright if upright.mode == "CMYK" else upright.convert("L" if grey else "RGB")
        with contextlib.suppress(ImageCms.PyCMSError):
            upright = _convert(source, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    upright = upright.convert("RGB")
    white = Image.new("RGB", upright.size, "white")
    white.paste(upright, mask=opacity)
    return np.asarray(white if opacity else upright), str(image.format)


def _convert(image: Image.Image, profile: Any) -> Image.Image:
    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None
    return converted


def assert_alike(picture: NDArray[np.uint8], expected: NDArray[np.uint8], tolerance: tuple[float, int]) -> None:
    assert picture.shape == expected.shape
    difference = np.abs(picture.astype(int) - expected)
    assert difference.mean() <= tolerance[0]
    assert difference.max() <= tolerance[1]


@pytest.mark.skipif(not FILES, reason="no folder of odd pictures beside the repository")
@pytest.mark.parametrize("name", FILES)
def test_a_shared_picture_looks_as_in_pillow_or_is_refused_with_the_right_code(name: str) -> None:
    data = (PICTURES / name).read_bytes()
    picture = ours(data)
    if name.rsplit("/", 1)[-1].rsplit(".", 1)[-1] in UNREAD:
        assert picture == "unsupported_format"
        return
    if name in REFUSALS or name.rsplit("/", 1)[-1].startswith(BROKEN):
        assert picture == REFUSALS.get(name, "undecodable_image")
        return
    assert not isinstance(picture, str), picture
    if name in NOT_BY_PILLOW:
        return
    expected, image_format = by_pillow(data)
    assert_alike(picture, expected, LOSSY if image_format in LOSSY_FORMATS else LOSSLESS)


@pytest.mark.skipif(not FILES, reason="no folder of odd pictures beside the repository")
@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("bmp/g/rgb32bf.bmp", "bmp/html/rgb24.png"),
        ("bmp/q/rgb32bf-xbgr.bmp", "bmp/html/rgb24.png"),
        ("bmp/g/rgb16-565.bmp", "bmp/html/rgb16-565.png"),
        ("bmp/q/pal8os2v2-16.bmp", "bmp/html/pal8.png"),
        ("bmp/q/pal8oversizepal.bmp", "bmp/html/pal8.png"),
    ],
)
def test_a_bmp_of_the_suite_looks_as_its_reference(name: str, same: str) -> None:
    picture = ours((PICTURES / "pillow" / name).read_bytes())
    assert not isinstance(picture, str)
    assert_alike(picture, np.asarray(Image.open(PICTURES / "pillow" / same).convert("RGB")), (0.05, 2))
