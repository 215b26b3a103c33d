"""Prepares a picture for the next stages: the model's input and a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from executors.errors import VisualSearchError
from executors.models.spec import ModelSpec
from executors.preprocess.decode import decode
from executors.preprocess.header import ImageLimits, check_limits, check_pixels, read_header
from executors.preprocess.pixels import Pixels
from executors.preprocess.resize import fit, scaled_size
from executors.preprocess.sources import check_size
from executors.preprocess.thumbnail import MAX_SIDE, make_thumbnail

# How much larger than the model's input a JPEG stays when it is decoded at a fraction of its size. With
# EfficientNet-Lite0, which is sensitive to a shift by a tenth of a pixel, the least cosine to full decoding among 240
# photos is 0.990 or more from here on (0.987 at 3, 0.985 at 2, where the mean is still 0.998).
OVERSAMPLING: Final = 4.25


@dataclass(frozen=True, slots=True)
class Prepared:
    """One picture, ready for the model.

    Attributes:
        tensor: height x width x 3 uint8 RGB of the model's size, contiguous.
        thumbnail: a small JPEG, None if none was wanted.
    """

    tensor: Pixels
    thumbnail: bytes | None


class ImagePipeline:
    """Prepares pictures for one model. It has no state, so that threads may share it. OpenCV and Pillow release the
    GIL, except for JPEG 2000.
    """

    def __init__(self, spec: ModelSpec, limits: ImageLimits, *, thumbnails: bool) -> None:
        self.spec = spec
        self.limits = limits
        self.thumbnails = thumbnails

    def prepare(self, blob: bytes, *, thumbnail: bool = True) -> Prepared:
        """Prepare an encoded picture.

        Args:
            blob: a picture of one of `ImageFormat`.
            thumbnail: whether this one needs a thumbnail (if the pipeline makes any).

        Raises:
            VisualSearchError: `image_too_large`, `unsupported_format`, `undecodable_image`; `image_too_many_pixels`,
                before anything is decoded.
        """
        check_size(blob, self.limits.max_bytes)
        header = read_header(blob)
        check_limits(header, self.limits)
        thumbnail = thumbnail and self.thumbnails
        height, width = header.upright_size
        image = decode(blob, header, self.needed_size(height, width, thumbnail))
        return self._finish(image, thumbnail)

    def prepare_tensor(self, array: Pixels, *, thumbnail: bool = True) -> Prepared:
        """Prepare pixels that the client sent as a tensor; they are fitted to the model in the same way as a decoded
        picture.

        Args:
            array: H x W x 3 uint8 RGB, upright.
            thumbnail: as for `prepare`.

        Raises:
            VisualSearchError: `invalid_tensor` for another shape or type, `image_too_many_pixels`.
        """
        pixels = np.asarray(array)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise VisualSearchError(
                "invalid_tensor",
                f"`tensor` must be HxWx3 uint8, not {'x'.join(map(str, pixels.shape))} {pixels.dtype}",
                shape=list(pixels.shape),
                dtype=str(pixels.dtype),
            )
        height, width = pixels.shape[:2]
        check_pixels(width, height, self.limits)
        return self._finish(np.ascontiguousarray(pixels), thumbnail and self.thumbnails)

    def needed_size(self, height: int, width: int, thumbnail: bool) -> tuple[int, int]:
        """The minimum height and width of the decoded picture."""
        spec = self.spec
        scaled = scaled_size((height, width), spec.fit, spec.height, spec.width, spec.crop_fraction)
        smallest = MAX_SIDE / max(height, width) if thumbnail else 0.0
        return (
            round(max(OVERSAMPLING * scaled[0], smallest * height)),
            round(max(OVERSAMPLING * scaled[1], smallest * width)),
        )

    def _finish(self, image: Pixels, thumbnail: bool) -> Prepared:
        spec = self.spec
        return Prepared(
            tensor=fit(image, spec.fit, spec.height, spec.width, spec.crop_fraction),
            thumbnail=make_thumbnail(image) if thumbnail else None,
        )
