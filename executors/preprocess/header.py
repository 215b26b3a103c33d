"""Format, size and orientation from the header of a picture, and checks of the limits; nothing is decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from executors.errors import VisualSearchError
from executors.preprocess.formats import bmp, gif, heif, jpeg, jpeg2000, jxl, png, tiff, webp
from executors.preprocess.formats.base import ImageFormat, ImageHeader, undecodable
from executors.preprocess.formats.signatures import FIRST_BYTES, name_unread, recognise

__all__ = [
    "FIRST_BYTES",
    "ImageFormat",
    "ImageHeader",
    "ImageLimits",
    "check_limits",
    "check_pixels",
    "name_unread",
    "read_header",
    "recognise",
]


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """The limits of a picture: bytes of the encoded file, pixels (width x height), and the longer side in pixels."""

    max_bytes: int
    max_pixels: int
    max_side: int


def read_header(data: bytes) -> ImageHeader:
    """Recognise the format by its content and read the properties that decoding needs.

    Args:
        data: the encoded picture.

    Raises:
        VisualSearchError: `unsupported_format` for anything that is not one of `ImageFormat` (and for variants of them
            that hold no colours); `undecodable_image` for a header that is cut off or contradicts itself.
    """
    image_format = recognise(data)
    if image_format is None:
        kind = name_unread(data)
        raise VisualSearchError(
            "unsupported_format", f"{kind} is not read" if kind else "not a picture of a known format"
        )
    try:
        return _READERS[image_format](data)
    except (struct.error, IndexError):
        raise undecodable(image_format, "is cut off within its header") from None


def check_limits(header: ImageHeader, limits: ImageLimits) -> None:
    """Refuse a picture whose decoding would exceed the limits, by the size that its header declares.

    Raises:
        VisualSearchError: `image_too_many_pixels`.
    """
    check_pixels(header.width, header.height, limits)
    check_pixels(header.buffer_width, header.buffer_height, limits)


def check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    """Compare one size with the limits.

    Raises:
        VisualSearchError: `image_too_many_pixels` with `width`, `height` and the `limit` that is exceeded.
    """
    if max(width, height) > limits.max_side:
        raise VisualSearchError(
            "image_too_many_pixels",
            f"{width}x{height} pixels; a side may have at most {limits.max_side}",
            width=width,
            height=height,
            limit=limits.max_side,
        )
    if width * height > limits.max_pixels:
        raise VisualSearchError(
            "image_too_many_pixels",
            f"{width}x{height} pixels; a picture may have at most {limits.max_pixels}",
            width=width,
            height=height,
            limit=limits.max_pixels,
        )


_READERS: Final[dict[ImageFormat, Callable[[bytes], ImageHeader]]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "webp": webp.read,
    "gif": gif.read,
    "tiff": tiff.read,
    "bmp": bmp.read,
    "avif": heif.read_avif,
    "heif": heif.read_heif,
    "jpeg2000": jpeg2000.read,
    "jxl": jxl.read,
}
