"""What the flow has to know of a model: its input, how pictures are fitted to it, its vectors, and who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Fit: TypeAlias = Literal["centre_crop", "letterbox", "squash"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One image model of the repository.

    Attributes:
        name: the entry's name in the model repository.
        model_id: name + digest of the model file and of the preprocessing, such as `efficientnet-lite0@1f0c…`; two
            models that make different vectors never share one.
        dimension: D, the length of its vectors.
        height, width: the input's size in pixels; the input is N x height x width x 3 uint8 RGB.
        fit: how a picture of another shape becomes the input's: `centre_crop` scales the shorter side to
            `side / crop_fraction` and cuts the middle out, `letterbox` scales the longer side and fills with grey,
            `squash` ignores the aspect ratio.
        crop_fraction: for `centre_crop`, the part of the shorter side that is kept (0.875 is ImageNet's custom).
        input_name, output_name: the names of the model's tensors.
        max_batch_size: most pictures of one run; servers refuse larger requests.
    """

    name: str
    model_id: str
    dimension: int
    height: int
    width: int
    fit: Fit
    crop_fraction: float = 1.0
    input_name: str = "image"
    output_name: str = "embedding"
    max_batch_size: int = 64
