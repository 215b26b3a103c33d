"""Changes that pictures typically undergo: pure functions from the bytes of a file to the bytes of a changed copy.

`CHANGES` has them all. The demo searches with some of them, and the benchmarks measure Recall@1 with each. The same bytes
always give the same copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias

import cv2
from numpy.typing import NDArray

from executors.preprocess.decode import decode
from executors.preprocess.header import read_header

# H x W x 3 uint8 RGB.
Image: TypeAlias = NDArray[Any]
Change: TypeAlias = Callable[[bytes], bytes]

_QUALITY: Final = 90
_WHITE: Final = (255, 255, 255)
_DARK: Final = (24, 24, 28)


def read_upright(blob: bytes) -> Image:
    """Decode a picture and turn it upright: H x W x 3, uint8, RGB.

    Raises:
        VisualSearchError: `unsupported_format`, `undecodable_image`.
    """
    return decode(blob, read_header(blob))


def write_jpeg(image: Image, quality: int = _QUALITY) -> bytes:
    """Encode an array (H x W x 3, uint8, RGB) as JPEG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def crop(image: Image, share: float) -> Image:
    """Cut away a share of the area at the same aspect ratio; one third of it at the left and top, so off centre."""
    height, width = image.shape[:2]
    kept = math.sqrt(1 - share)
    new_height, new_width = max(1, round(height * kept)), max(1, round(width * kept))
    top, left = (height - new_height) // 3, (width - new_width) // 3
    return image[top : top + new_height, left : left + new_width]


def scale(image: Image, factor: float) -> Image:
    """Scale both sides, by averaging."""
    height, width = image.shape[:2]
    return cv2.resize(
        image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )


def rotate(image: Image, degrees: float) -> Image:
    """Rotate counter-clockwise on a canvas that has room for all of it; the corners are white."""
    height, width = image.shape[:2]
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    new_width, new_height = round(width * cosine + height * sine), round(width * sine + height * cosine)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    matrix[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    return cv2.warpAffine(image, matrix, (new_width, new_height), flags=cv2.INTER_LINEAR, borderValue=_WHITE)


def brighten(image: Image, gain: float = 1.3, offset: float = 25) -> Image:
    """gain x value + offset, clipped to 255: as an "auto" button does with a dark photo."""
    return cv2.convertScaleAbs(image, alpha=gain, beta=offset)


def mirror(image: Image) -> Image:
    """Mirror left and right."""
    return cv2.flip(image, 1)


def write_across(image: Image, text: str = "SAMPLE") -> Image:
    """Write a text across the middle, nine tenths of the width, in white with a dark edge."""
    height, width = image.shape[:2]
    font = cv2.FONT_HERSHEY_DUPLEX
    size = 0.9 * width / cv2.getTextSize(text, font, 1, 2)[0][0]
    stroke = max(1, round(size * 2))
    # Measured again, because strokes and hinting do not grow with the size.
    (text_width, text_height), _ = cv2.getTextSize(text, font, size, stroke)
    place = (round((width - text_width) / 2), round((height + text_height) / 2))
    edge = max(1, round(0.02 * text_height))
    written = image.copy()
    for right, down in ((-edge, -edge), (-edge, edge), (edge, -edge), (edge, edge)):
        cv2.putText(written, text, (place[0] + right, place[1] + down), font, size, _DARK, stroke, cv2.LINE_AA)
    cv2.putText(written, text, place, font, size, _WHITE, stroke, cv2.LINE_AA)
    return written


def frame_as_screenshot(image: Image) -> Image:
    """Frame the picture like a page in a browser: a title bar above, white around it, lines of text below."""
    height, width = image.shape[:2]
    unit = max(2, round(0.02 * (height + width) / 2))
    top, side, bottom = 7 * unit, 5 * unit, 11 * unit
    page = cv2.copyMakeBorder(image, top, bottom, side, side, cv2.BORDER_CONSTANT, value=_WHITE)
    total_height, total_width = page.shape[:2]
    cv2.rectangle(page, (0, 0), (total_width, 4 * unit), (222, 225, 230), -1)
    for number, colour in enumerate(((237, 106, 94), (245, 191, 79), (98, 197, 84))):
        cv2.circle(page, ((2 + 2 * number) * unit, 2 * unit), max(1, unit * 2 // 3), colour, -1, cv2.LINE_AA)
    cv2.rectangle(page, (10 * unit, unit), (total_width - 2 * unit, 3 * unit), _WHITE, -1)
    for number, share in enumerate((1.0, 0.92, 0.55)):
        line = total_height - bottom + (2 + 3 * number) * unit
        cv2.rectangle(page, (side, line), (side + round(share * width), line + unit), (190, 194, 200), -1)
    return page


def turn_by_exif(blob: bytes) -> bytes:
    """Make a JPEG whose pixels lie on their side, with the EXIF orientation that shows it upright."""
    lying = cv2.rotate(read_upright(blob), cv2.ROTATE_90_COUNTERCLOCKWISE)
    return with_orientation(write_jpeg(lying, 95), 6)


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Add an EXIF segment that has only the orientation (Exif 2.32, 4.6.4: tag 0x0112, SHORT) to a JPEG."""
    entry = (0x0112).to_bytes(2, "big") + b"\0\3" + b"\0\0\0\1" + orientation.to_bytes(2, "big") + b"\0\0"
    tiff = b"MM\0*" + b"\0\0\0\x08" + b"\0\1" + entry + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def recompress(blob: bytes, quality: int) -> bytes:
    """Encode the same pixels as a JPEG of another quality."""
    return write_jpeg(read_upright(blob), quality)


def _on_pixels(change: Callable[[Image], Image]) -> Change:
    return lambda blob: write_jpeg(change(read_upright(blob)))


CHANGES: Final[Mapping[str, Change]] = {
    "recompressed at quality 40": partial(recompress, quality=40),
    "scaled to 25 %": _on_pixels(partial(scale, factor=0.25)),
    "scaled to 10 %": _on_pixels(partial(scale, factor=0.1)),
    "cropped by 20 %": _on_pixels(partial(crop, share=0.2)),
    "cropped by 50 %": _on_pixels(partial(crop, share=0.5)),
    "rotated by EXIF": turn_by_exif,
    "rotated by 20°": _on_pixels(partial(rotate, degrees=20)),
    "brightened": _on_pixels(brighten),
    "mirrored": _on_pixels(mirror),
    "text across": _on_pixels(write_across),
    "screenshot's frame": _on_pixels(frame_as_screenshot),
}
"""Every change by its name, from the bytes of a file to those of the changed copy; each raises what `read_upright` does."""
