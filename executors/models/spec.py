"""The specification of a model: its input, how pictures are fitted to it, its vectors, and its identity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from executors.errors import VisualSearchError

Fit: TypeAlias = Literal["centre_crop", "letterbox", "squash"]
TensorType: TypeAlias = Literal["UINT8", "INT32", "INT64"]
DTYPES: Final[dict[TensorType, type[np.generic]]] = {"UINT8": np.uint8, "INT32": np.int32, "INT64": np.int64}

# Limits that no model needs to exceed: pixels of a side, numbers of a vector, tokens of a text.
MOST_SIDE: Final = 4_096
MOST_DIMENSION: Final = 65_536
MOST_TOKENS: Final = 8_192


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One image model of the repository.

    Attributes:
        name: the entry's name in the model repository.
        model_id: name + digest of the model file and of the preprocessing, such as `efficientnet-lite0@1f0c…`; two
            models that make different vectors never share one.
        dimension: D, the length of its vectors.
        height, width: the input's size in pixels; the input is N x height x width x 3 uint8 RGB.
        fit: how a picture of another shape is fitted to the input: `centre_crop` scales the shorter side to `side /
            crop_fraction` and cuts the middle out, `letterbox` scales the longer side and fills with grey, `squash`
            ignores the aspect ratio.
        crop_fraction: for `centre_crop`, the part of the shorter side that is kept (0.875 is customary for ImageNet).
        input_name, output_name: the names of the model's tensors.
        max_batch_size: the maximum number of pictures of one run; servers refuse larger requests.
        version: the entry's version folder that is used; another one may be loaded beside it.
        text_model: the entry of the text tower that makes vectors of the same space; empty if there is none.
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
    version: int = 1
    text_model: str = ""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row: height, width, 3."""
        return self.height, self.width, 3

    @property
    def input_type(self) -> TensorType:
        """Triton's name of the input's type."""
        return "UINT8"


@dataclass(frozen=True, slots=True)
class TextSpec:
    """The text tower that belongs to an image model; its vectors are compared with those of the image model.

    Attributes:
        name, model_id, dimension, input_name, output_name, max_batch_size, version: as in `ModelSpec`.
        context_length: L, tokens of one text, padded; the input is N x L.
        input_type: the type of the tokens.
    """

    name: str
    model_id: str
    dimension: int
    context_length: int
    input_type: TensorType = "INT64"
    input_name: str = "tokens"
    output_name: str = "embedding"
    max_batch_size: int = 64
    version: int = 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one row: L."""
        return (self.context_length,)


Tower: TypeAlias = ModelSpec | TextSpec


@dataclass(frozen=True, slots=True)
class Towers:
    """The towers of one flow: an image model, and the text tower that belongs to it, if there is one."""

    image: ModelSpec
    text: TextSpec | None = None

    def __iter__(self) -> Iterator[Tower]:
        yield self.image
        if self.text is not None:
            yield self.text


def text_not_supported(spec: ModelSpec) -> VisualSearchError:
    """What a query in words gets from a model without a text tower."""
    message = f"the model {spec.name!r} only takes pictures; `visual-search models list` shows which take texts"
    return VisualSearchError("text_not_supported", message, model=spec.name)
