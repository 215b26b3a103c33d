"""The same model as this project's, as a few lines of ONNX Runtime and OpenCV use it. It imports nothing of this project."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

_SIDE = 224
# More pictures a run are slower on a CPU: what one layer makes no longer fits the cache.
_BATCH = 8


class PictureModel:
    """The model that the variable PEER_MODEL names, on the CPU."""

    def __init__(self, threads: int) -> None:
        """Load it.

        Args:
            threads: of one run. They sleep while they wait: with ONNX Runtime's default, which spins, a search by picture
                took half as long again here.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = os.environ["PEER_MODEL"]
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def embed(self, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return N x D float32 of unit length for N x 224 x 224 x 3 uint8 RGB."""
        parts = [
            self._session.run([self._output], {self._input: tensors[start : start + _BATCH]})[0]
            for start in range(0, len(tensors), _BATCH)
        ]
        return np.concatenate(parts)


def decode(picture: bytes) -> NDArray[np.uint8]:
    """Return a picture as 224 x 224 x 3 uint8 RGB."""
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("not a picture")
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB), np.uint8)


def decode_all(pictures: Sequence[str]) -> NDArray[np.uint8]:
    """Return pictures that came as base64 as N x 224 x 224 x 3 uint8 RGB."""
    return np.stack([decode(base64.b64decode(each)) for each in pictures])
