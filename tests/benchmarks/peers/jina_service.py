"""Picture search as a flow of plain Jina: three executors, two replicas of the model, numpy as the index.

Jina reads the annotations of an executor's methods, which therefore are no texts.
"""

import base64
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from docarray import BaseDoc, DocList
from docarray.typing import NdArray
from jina import Executor, Flow, requests

from tests.benchmarks.peers.numpy_index import NumpyIndex
from tests.benchmarks.peers.picture_model import PictureModel, decode

if TYPE_CHECKING:
    Array: TypeAlias = np.ndarray[Any, Any]
else:
    Array = NdArray


class Picture(BaseDoc):
    """A picture, a query, or the answer to one. Over HTTP the bytes come as base64, over gRPC as they are."""

    base64: str | None = None
    blob: bytes | None = None
    tensor: Array | None = None
    embedding: Array | None = None
    matches: list[str] = []  # noqa: RUF012 - docarray's way
    scores: list[float] = []  # noqa: RUF012


class Decoder(Executor):
    """Bytes to pixels."""

    @requests
    def decode(self, docs: DocList[Picture], **_kwargs: object) -> DocList[Picture]:
        """Decode the pictures; a document with a vector has none."""
        for doc in docs:
            picture = doc.blob if doc.base64 is None else base64.b64decode(doc.base64)
            if picture is not None:
                doc.tensor = decode(picture)
                doc.base64 = doc.blob = None
        return docs


class Embedder(Executor):
    """Pixels to vectors."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._model = PictureModel(threads=1)

    @requests
    def embed(self, docs: DocList[Picture], **_kwargs: object) -> DocList[Picture]:
        """Embed what has pixels."""
        pictures = [doc for doc in docs if doc.tensor is not None]
        if pictures:
            vectors = self._model.embed(np.stack([np.asarray(doc.tensor) for doc in pictures]))
            for doc, vector in zip(pictures, vectors, strict=True):
                doc.embedding, doc.tensor = vector, None
        return docs


class Index(Executor):
    """Vectors in memory."""

    def __init__(self, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self._index = NumpyIndex()

    @requests(on="/index")
    def add(self, docs: DocList[Picture], **_kwargs: object) -> DocList[Picture]:
        """Add the documents."""
        self._index.add([str(doc.id) for doc in docs], np.stack([np.asarray(doc.embedding) for doc in docs]))
        for doc in docs:
            doc.embedding = None
        return docs

    @requests(on="/search")
    def search(self, docs: DocList[Picture], parameters: dict[str, float], **_kwargs: object) -> DocList[Picture]:
        """Find the hits of each query."""
        for doc in docs:
            found = self._index.search(np.asarray(doc.embedding, np.float32), int(parameters.get("limit", 10)))
            doc.matches, doc.scores = [id_ for id_, _ in found], [score for _, score in found]
            doc.embedding = None
        return docs


def main() -> None:
    """Run until interrupted."""
    ports = [int(os.environ["PEER_GRPC_PORT"]), int(os.environ["PEER_PORT"])]
    flow = Flow(protocol=["grpc", "http"], port=ports)
    flow = flow.add(name="decode", uses=Decoder).add(name="embed", uses=Embedder, replicas=2)
    with flow.add(name="index", uses=Index) as running:
        running.block()


if __name__ == "__main__":
    main()
