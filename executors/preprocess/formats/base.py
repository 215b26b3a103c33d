"""What every header says, in the same words for each format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from executors.errors import VisualSearchError

ImageFormat: TypeAlias = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heif", "jpeg2000", "jxl"]
Alpha: TypeAlias = Literal["none", "straight", "premultiplied"]


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What can be known of a picture without decoding it.

    Attributes:
        format: the file's format by its content; names and media types are not looked at.
        width, height: pixels as stored, before the EXIF orientation is applied.
        orientation: EXIF orientation, 1 to 8 (1: upright as stored).
        bits: bits of one sample.
        alpha: whether pixels may be transparent, and whether their colours are already multiplied by it.
        transparent_grey: the sample value that a grey PNG declares as transparent.
        progressive: a JPEG in several passes over the picture.
        animated: more than one frame; the first one is the picture.
        buffer_width, buffer_height: the largest single buffer that decoding needs, in pixels, where that can exceed
            the picture (a TIFF tile larger than its picture, a WebP frame larger than its canvas).
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    bits: int = 8
    alpha: Alpha = "none"
    transparent_grey: int | None = None
    progressive: bool = False
    animated: bool = False
    buffer_width: int = 0
    buffer_height: int = 0

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in pixels as a person sees the picture."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def decoded_bytes(self) -> int:
        """About how many bytes decoding at full size takes at its peak, by what the header declares."""
        pixels = max(self.width * self.height, self.buffer_width * self.buffer_height)
        samples = 4 if self.alpha != "none" else 3
        # The decoder's own buffer, and the 8-bit RGB that is made of it.
        return pixels * (samples * max(1, self.bits // 8) + 3)


def undecodable(image_format: ImageFormat, reason: str, **details: int) -> VisualSearchError:
    """The error for a picture whose format is known and whose content is damaged."""
    return VisualSearchError(
        "undecodable_image", f"the {_NAMES[image_format]} {reason}", format=image_format, **details
    )


def unsupported(image_format: ImageFormat, reason: str) -> VisualSearchError:
    """The error for a variant of a known format that no picture of this service needs."""
    return VisualSearchError("unsupported_format", f"the {_NAMES[image_format]} {reason}", format=image_format)


_NAMES: Final[dict[ImageFormat, str]] = {
    "jpeg": "JPEG",
    "png": "PNG",
    "webp": "WebP",
    "bmp": "BMP",
    "tiff": "TIFF",
    "gif": "GIF",
    "avif": "AVIF",
    "heif": "HEIC or HEIF",
    "jpeg2000": "JPEG 2000",
    "jxl": "JPEG XL",
}
