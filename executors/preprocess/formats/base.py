"""The common description of a picture's header, the same for all formats."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from executors.errors import VisualSearchError

ImageFormat: TypeAlias = Literal["jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "heif", "jpeg2000", "jxl"]


# Bytes a pixel that decoders work with (their planes, and the samples that they return): of 8 bits; of more, or
# progressive.
_WORKING_BYTES: Final[dict[ImageFormat, tuple[int, int]]] = {
    "jpeg": (3, 9),
    "png": (4, 6),
    "webp": (6, 6),
    "gif": (5, 5),
    "bmp": (1, 1),
    "tiff": (5, 9),
    "avif": (7, 12),
    "heif": (5, 10),
    "jpeg2000": (17, 17),
    "jxl": (16, 16),
}
_RESULT_BYTES: Final = 3


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The properties of a picture that are known without decoding it.

    Attributes:
        format: the file's format by its content; names and media types are ignored.
        width, height: pixels as stored, before the EXIF orientation is applied.
        orientation: EXIF orientation, 1 to 8 (1: upright as stored).
        turned_by_decoder: whether a JPEG XL is turned by its decoder, whatever its EXIF says.
        levels: how often a JPEG 2000 can be halved while it is decoded.
        bits: bits of one sample.
        alpha: whether pixels of a PNG, WebP or GIF may be transparent by themselves, rather than by their colour.
        grey: a PNG without colours.
        inks: a JPEG of four inks (CMYK).
        transparent_grey: the sample value that a grey PNG declares as transparent.
        transparent_colour: red, green and blue that a PNG declares as transparent, in its own bits.
        progressive: a JPEG in several passes over the picture.
        lossless: a lossless JPEG, which is not decoded at a fraction of its size.
        structure_bytes: memory for the parts that a JPEG 2000 is cut into, at whatever scale it is decoded.
        animated: more than one frame; the first one is the picture.
        buffer_width, buffer_height: the largest single buffer that decoding needs, in pixels, if that can exceed the
            picture (a TIFF tile larger than its picture, a WebP frame larger than its canvas).
        profile: the ICC profile of a JPEG, PNG or WebP (other formats' are read by the library that decodes them).
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    turned_by_decoder: bool = False
    levels: int = 0
    bits: int = 8
    alpha: bool = False
    grey: bool = False
    inks: bool = False
    transparent_grey: int | None = None
    transparent_colour: tuple[int, int, int] | None = None
    progressive: bool = False
    lossless: bool = False
    structure_bytes: int = 0
    animated: bool = False
    buffer_width: int = 0
    buffer_height: int = 0
    profile: bytes | None = field(default=None, repr=False)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Height and width in pixels of the upright picture."""
        return (self.width, self.height) if self.orientation >= 5 else (self.height, self.width)

    @property
    def may_be_transparent(self) -> bool:
        """Whether pixels of a PNG, WebP or GIF may be transparent, by themselves or by their colour."""
        return self.alpha or self.transparent_grey is not None or self.transparent_colour is not None

    @property
    def pixels(self) -> int:
        """Pixels of the picture, or of the largest buffer that decoding needs."""
        return max(self.width * self.height, self.buffer_width * self.buffer_height)

    @property
    def decoded_bytes(self) -> int:
        """The approximate peak memory in bytes of decoding at full size, as the header declares it, without the file
        itself.
        """
        shallow, deep = _WORKING_BYTES[self.format]
        return self.pixels * ((deep if self.bits > 8 or self.progressive else shallow) + _RESULT_BYTES)


def undecodable(image_format: ImageFormat, reason: str, **details: int) -> VisualSearchError:
    """The error for a picture whose format is known and whose content is damaged."""
    return VisualSearchError(
        "undecodable_image", f"the {_NAMES[image_format]} {reason}", format=image_format, **details
    )


def unsupported(image_format: ImageFormat, reason: str) -> VisualSearchError:
    """The error for a variant of a known format that this service does not support."""
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
