"""What decoding a picture will take, by its header alone: memory, and whether it is dear for what was sent."""

from __future__ import annotations

from typing import Final

from executors.errors import VisualSearchError
from executors.fair_threads import Cost
from executors.preprocess.decode import reduction
from executors.preprocess.formats.base import ImageHeader
from executors.preprocess.header import read_header
from executors.preprocess.pipeline import ImagePipeline

# As the decoders have pixels at most, beside what they are made of: four samples, of one or two bytes.
_SAMPLES: Final = 4
# A progressive JPEG is in memory as the coefficients of the whole picture, whatever it is reduced to: three of two bytes.
_COEFFICIENT_BYTES: Final = 6
# A photo of 12 MP as PNG is below this.
_DEAR_BYTES: Final = 128_000_000
# Smaller ones are dear where few bytes become many: 24 MB from less than 240 KB.
_NOT_DEAR_BYTES: Final = 16_000_000
_DEAR_RATIO: Final = 100


def cost_of(blob: bytes, pipeline: ImagePipeline, *, thumbnail: bool) -> Cost:
    """What `ImagePipeline.prepare` will take for a picture; a header that can't be read is found out there."""
    try:
        header = read_header(blob)
    except VisualSearchError:
        return Cost()
    height, width = header.upright_size
    factor = reduction(header, pipeline.needed_size(height, width, thumbnail and pipeline.thumbnails))
    size = decoded_bytes(header, factor)
    dear = size > _DEAR_BYTES or (size > _NOT_DEAR_BYTES and size > _DEAR_RATIO * len(blob))
    return Cost(size, dear)


def decoded_bytes(header: ImageHeader, factor: int) -> int:
    """Bytes that the pixels of a picture take while it is decoded at 1/`factor` of its size."""
    pixels = max(header.width * header.height, header.buffer_width * header.buffer_height)
    size = pixels * _SAMPLES * (1 if header.bits <= 8 else 2) // factor**2
    return size + (pixels * _COEFFICIENT_BYTES if header.progressive else 0)
