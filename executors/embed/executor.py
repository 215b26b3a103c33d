"""Embedding as a Jina executor: tensors in, unit vectors out, stamped with the model that made them."""

from typing import Any

import numpy as np
import orjson
from docarray import DocList
from jina import Executor, requests

from executors.documents import Failure, ImageDoc
from executors.embed.backends import make_backend
from executors.embed.vectors import check_embedding, check_vectors
from executors.errors import VisualSearchError
from executors.lifecycle import as_error, fail_all, start_now, starting
from executors.models.repository import load_spec
from executors.settings import settings, visible_devices

STAGE = "embed"


class ImageEmbedder(Executor):
    """One replica: one model on the device that round-robin gave it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with starting(STAGE, self.logger):
            chosen = settings()
            self._spec = load_spec(chosen.models_dir, chosen.model)
            self._backend = make_backend(chosen, self._spec, visible_devices())
            start_now(self._backend.start())

    def close(self) -> None:
        """Called by Jina when the process ends."""
        start_now(self._backend.close())

    @requests(on=["/index", "/search", "/embed"])
    async def embed(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """A vector for every document that has none; ready ones are checked and count as this model's by default."""
        to_embed = []
        for document in docs:
            if document.error is None and document.embedding is not None:
                self._check_ready(document)
            elif document.error is None:
                to_embed.append(document)
        if to_embed:
            await self._embed(to_embed)
        return docs

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """The model, and what this replica runs it with."""
        report = {
            "model_id": self._spec.model_id,
            "name": self._spec.name,
            "dimension": self._spec.dimension,
            "replica": self.runtime_args.name,
            **self._backend.status(),
        }
        packed = orjson.dumps(report)
        return DocList[ImageDoc]([ImageDoc.from_values(id=document.id, hits=packed) for document in docs])

    def _check_ready(self, document: ImageDoc) -> None:
        document.model_id = document.model_id or self._spec.model_id
        own = document.model_id == self._spec.model_id
        try:
            document.embedding = check_embedding(document.embedding, self._spec.dimension if own else None)
        except Exception as error:
            fail_all([document], as_error(error, STAGE, self.logger), STAGE)

    async def _embed(self, documents: list[ImageDoc]) -> None:
        try:
            vectors = await self._backend.embed(np.stack([np.asarray(document.tensor) for document in documents]))
            checked = check_vectors(vectors, len(documents), self._spec.dimension)
        except Exception as error:
            fail_all(documents, as_error(error, STAGE, self.logger), STAGE)
            return
        for document, vector in zip(documents, checked, strict=True):
            document.tensor = None
            if isinstance(vector, VisualSearchError):
                document.error = Failure(**vector.to_json(), stage=STAGE)
            else:
                document.embedding = vector
                document.model_id = self._spec.model_id
