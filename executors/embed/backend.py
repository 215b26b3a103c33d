"""The contract of an embedding backend: what turns a batch of tensors into vectors.

An implementation does no checking of its own results; `vectors.py` checks what any of them returns, the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.models.spec import ModelSpec


class EmbeddingBackend(ABC):
    """One model, ready to run. Methods may be called from several tasks at once."""

    spec: ModelSpec

    @abstractmethod
    async def start(self) -> None:
        """Load the model, and run it once.

        Raises:
            VisualSearchError: `model_missing`, `model_invalid`, or `unavailable`.
        """

    @abstractmethod
    async def embed(self, tensors: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn N x H x W x 3 uint8 RGB into N x D float32, in the same order, for any N of at least 1.

        Raises:
            VisualSearchError: `unavailable` when the model can't be reached, `deadline_exceeded`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Free what was taken. Safe to call twice."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """What `/status` shows of this backend, as JSON values."""
