"""A picture as this project decodes it, and as Pillow does: what both are to agree in."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from executors.errors import VisualSearchError
from executors.preprocess.decode import decode
from executors.preprocess.header import ImageLimits, check_limits, read_header

LIMITS = ImageLimits(max_bytes=20_000_000, max_pixels=50_000_000, max_side=16_384)
# Mean and largest difference of a sample: rounding, where both decode without loss; and other inverse transforms.
LOSSLESS = (0.6, 2)
LOSSY = (1.0, 12)
LOSSY_FORMATS = {"JPEG", "MPO", "WEBP", "AVIF", "HEIF", "JPEG2000", "JXL"}


def ours(data: bytes) -> NDArray[np.uint8] | str:
    """The picture, or the code of the refusal."""
    try:
        header = read_header(data)
        check_limits(header, LIMITS)
        picture = decode(data, header)
    except VisualSearchError as error:
        return error.code
    assert picture.shape == (*header.upright_size, 3)
    return picture


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
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
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
    difference = cv2.absdiff(picture, expected)
    assert difference.mean() <= tolerance[0]
    assert difference.max() <= tolerance[1]
