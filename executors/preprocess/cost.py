"""The cost of decoding a picture, estimated from its header: memory, and whether it is high for the bytes that were
sent.
"""

from __future__ import annotations

from typing import Final

from executors.errors import VisualSearchError
from executors.preprocess.decode import reduction
from executors.preprocess.formats.base import ImageHeader
from executors.preprocess.header import check_limits, read_header
from executors.preprocess.library import halvings
from executors.preprocess.pipeline import ImagePipeline
from executors.preprocess.sources import check_size
from executors.scheduling.fair_threads import Cost

# Bytes of a pixel's samples, of 8 bits each. The other memory of decoders differs by format, and does not identify a
# bomb.
_SAMPLES: Final = 4
# A photo of 12 MP as PNG is below this.
_EXPENSIVE_BYTES: Final = 128_000_000
# Smaller pictures are expensive if few bytes become many: 24 MB from less than 240 KB.
_CHEAP_BYTES: Final = 16_000_000
_EXPENSIVE_RATIO: Final = 100


def cost_of(blob: bytes, pipeline: ImagePipeline, *, thumbnail: bool) -> Cost:
    """The cost of `ImagePipeline.prepare` for a picture; one that is refused before it is decoded costs nothing."""
    try:
        check_size(blob, pipeline.limits.max_bytes)
        header = read_header(blob)
        check_limits(header, pipeline.limits)
    except VisualSearchError:
        return Cost()
    height, width = header.upright_size
    factor = reduction(header, pipeline.needed_size(height, width, thumbnail and pipeline.thumbnails))
    smaller = _divisor(header, factor) ** 2
    pixel_bytes = header.pixels * _SAMPLES * (1 if header.bits <= 8 else 2) // smaller
    pixel_bytes += header.structure_bytes
    expensive = pixel_bytes > _EXPENSIVE_BYTES or (
        pixel_bytes > _CHEAP_BYTES and pixel_bytes > _EXPENSIVE_RATIO * len(blob)
    )
    return Cost(header.decoded_bytes // smaller + header.structure_bytes, expensive)


def _divisor(header: ImageHeader, factor: int) -> int:
    """The divisor by which a decoder itself reduces both sides, so that the omitted pixels never take memory."""
    if header.format == "jpeg":
        return 1 if header.progressive or header.lossless else factor
    return 1 << halvings(header, factor) if header.format == "jpeg2000" else 1
