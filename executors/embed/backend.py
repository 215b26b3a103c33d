"""The contract of an embedding backend, which turns a batch of inputs into vectors.

An implementation checks the shape of the result; `vectors.py` checks the values in the same way for all
implementations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.errors import VisualSearchError
from executors.models.spec import DTYPES, Tower, Towers


class EmbeddingBackend(ABC):
    """The towers of one model, ready to run. Methods may be called from several tasks at once.

    The rows of a request run when it is its turn (`executors.scheduling.turns.current_turn`): small requests overtake
    bulk.
    """

    towers: Towers

    @abstractmethod
    async def start(self) -> None:
        """Load the towers, and run each once. May run on another event loop than the other methods.

        Raises:
            VisualSearchError: `model_missing`, `model_invalid`, `model_mismatch`, `triton_failed`. A remote server that
                does not answer yet is no error: `status` says so, and `embed` works when it does.
        """

    @abstractmethod
    async def embed(self, tower: Tower, inputs: NDArray[Any]) -> NDArray[np.float32]:
        """Run one of `towers`.

        Args:
            tower: one of `towers`.
            inputs: N x `tower.input_shape` of `tower.input_type`, for any N of at least 1.

        Returns:
            N x D float32, in the same order.

        Raises:
            VisualSearchError: `invalid_tensor`; `unavailable` when the model can't be reached; `deadline_exceeded`;
                `embedding_failed` when the result has the wrong shape.
        """

    @abstractmethod
    async def close(self) -> None:
        """Free all resources. Safe to call twice, and from another event loop."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """The report of this backend in `/status`, as JSON values.

        `ready` says whether `embed` can work now; if it can't, `error` is the reason as `{code, message, details}`.
        """


def check_inputs(tower: Tower, inputs: NDArray[Any]) -> None:
    """Refuse a batch that the tower does not take.

    Raises:
        VisualSearchError: `invalid_tensor`.
    """
    if inputs.shape[1:] != tower.input_shape or inputs.dtype != DTYPES[tower.input_type] or not len(inputs):
        got = f"{inputs.dtype} {list(inputs.shape)}"
        shape = " x ".join(str(each) for each in tower.input_shape)
        message = f"the model takes N x {shape} {tower.input_type.lower()}, not {got}"
        raise VisualSearchError("invalid_tensor", message, expected=list(tower.input_shape), got=got)
