"""The settings of pictures: their largest size, and whether the index keeps thumbnails."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class PictureSettings(BaseModel):
    """Limits of the stage that decodes pictures."""

    max_image_bytes: int = Field(20_000_000, ge=1, description="maximum size of an encoded picture, in bytes")
    max_image_pixels: int = Field(
        50_000_000, ge=1, description="maximum number of pixels that a picture's header may declare"
    )
    max_image_side: int = Field(
        16_384, ge=1, description="maximum width and height that a picture's header may declare, in pixels"
    )
    max_decoded_bytes: int = Field(
        400_000_000,
        ge=1_000,
        description="maximum memory for the decoded pixels of all pictures in work, in bytes (a single picture may need more)",
    )
    thumbnails: Literal["on", "off"] = Field(
        "on", description="`on` keeps a small JPEG of each picture, to show in results"
    )
