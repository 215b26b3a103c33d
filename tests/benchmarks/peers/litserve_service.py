"""Picture search with LitServe: two workers, each with the model and numpy. What is indexed stays in the worker that took it.

LitServe needs a newer uvicorn than Jina runs with, so it has an environment of its own (the dependency group `peers`).
"""

import os
from typing import Any

import litserve
import numpy as np

from tests.benchmarks.peers.numpy_index import NumpyIndex
from tests.benchmarks.peers.picture_model import PictureModel, decode_all


class PictureSearch(litserve.LitAPI):
    """One endpoint for searches by vector or picture (in base64), and for pictures to index."""

    def setup(self, device: str) -> None:
        """Load the model and the vectors."""
        self._model = PictureModel(threads=1)
        self._index = NumpyIndex()

    def decode_request(self, request, **_kwargs: Any) -> dict[str, Any]:
        """Return what was sent, with pixels in place of pictures. LitServe reads JSON where `request` has no type."""
        if "pictures" in request:
            return {"ids": request.get("ids"), "tensors": decode_all(request["pictures"])}
        return request

    def predict(self, given: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """Search, or index where there are ids."""
        if "embedding" in given:
            return {"matches": self._index.search(np.array(given["embedding"], np.float32), given["limit"])}
        vectors = self._model.embed(given["tensors"])
        if given["ids"] is None:
            return {"matches": self._index.search(vectors[0], 10)}
        self._index.add(given["ids"], vectors)
        return {"indexed": len(vectors)}

    def encode_response(self, output: dict[str, Any], **_kwargs: Any) -> dict[str, Any]:
        """Return the answer as it is."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(PictureSearch(), accelerator="cpu", workers_per_device=2, timeout=120)
    server.run(host="127.0.0.1", port=int(os.environ["PEER_PORT"]), log_level="warning", generate_client_file=False)
