"""What decoding a picture will take, by its header alone: memory, and whether it is dear for what was sent."""

from __future__ import annotations

from typing import Final

from executors.errors import VisualSearchError
from executors.fair_threads import Cost
from executors.preprocess.decode import reduction
from executors.preprocess.header import read_header
from executors.preprocess.pipeline import ImagePipeline

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
    size = header.decoded_bytes
    if header.format == "jpeg" and not header.progressive:
        # Only there are the pixels that are left out never in memory.
        height, width = header.upright_size
        needed = pipeline.needed_size(height, width, thumbnail and pipeline.thumbnails)
        size //= reduction(header, needed) ** 2
    dear = size > _DEAR_BYTES or (size > _NOT_DEAR_BYTES and size > _DEAR_RATIO * len(blob))
    return Cost(size, dear)
