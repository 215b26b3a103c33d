"""Pictures that tests draw themselves: different enough for a model to tell apart."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def scene(seed: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """A drawn scene of shapes and gradients, H x W x 3 uint8 RGB; the same for the same seed."""
    random = np.random.default_rng(seed)
    corners = random.integers(0, 256, (2, 2, 3), np.uint8)
    image = cv2.resize(corners, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(14):
        colour = tuple(int(channel) for channel in random.integers(0, 256, 3))
        centre = (int(random.integers(0, width)), int(random.integers(0, height)))
        size = int(random.integers(10, 70))
        kind = int(random.integers(0, 3))
        if kind == 0:
            cv2.circle(image, centre, size, colour, -1)
        elif kind == 1:
            cv2.rectangle(image, centre, (centre[0] + size * 2, centre[1] + size), colour, -1)
        else:
            cv2.line(image, centre, tuple(int(each) for each in random.integers(0, 300, 2)), colour, size // 6 + 1)
    return np.asarray(image, dtype=np.uint8)


def encode(image: NDArray[Any], extension: str = ".jpg", quality: int = 90) -> bytes:
    """The picture as a file; `image` is RGB, uint8."""
    done, encoded = cv2.imencode(extension, image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return encoded.tobytes()
