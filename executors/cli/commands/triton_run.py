"""Runs a model on a Triton server for `visual-search models verify --triton`."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from executors.embed.triton.client import CallError, connect, infer
from executors.embed.triton.handshake import verify
from executors.errors import VisualSearchError
from executors.models.run_onnx import Run
from executors.models.spec import Tower

# Timeout of each tower. The first run of a model on a GPU is slow, and very slow if TensorRT compiles it.
_SECONDS: Final = 120.0
# Timeout of requests that compute nothing.
_ANSWER_S: Final = 10.0
_MOST_ROWS: Final = 64


def run_on_triton(url: str) -> Run:
    """Make a `Run` for the server at `url` (`host:port` of its gRPC).

    The run raises `unavailable` if the server does not answer or has not loaded the model, and `model_mismatch` or
    `model_invalid` if it has loaded another model than the local configuration names.
    """

    def run(tower: Tower, inputs: NDArray[Any]) -> NDArray[Any]:
        try:
            return asyncio.run(_run(url, tower, inputs))
        except CallError as failure:
            words = f" ({failure.server_text})" if failure.server_text else ""
            message = f"the Triton server {url}: {failure.message}{words}"
            raise VisualSearchError("unavailable", message, url=url) from None

    return run


async def _run(url: str, tower: Tower, inputs: NDArray[Any]) -> NDArray[np.float32]:
    client = connect(url)
    try:
        served = await verify(client, tower, None, cpu_batch=_MOST_ROWS, seconds=_SECONDS, answer_s=_ANSWER_S)
        step = served.rows_per_call
        parts = [await infer(client, tower, inputs[at : at + step], _SECONDS) for at in range(0, len(inputs), step)]
    finally:
        await client.close()
    return np.concatenate(parts)
