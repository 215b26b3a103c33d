"""The Jina executor for embedding: tensors and texts in, unit vectors out, with the id of the model that made them."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from docarray import DocList
from jina import Executor, requests
from numpy.typing import NDArray

from executors.documents import Failure, ImageDoc, fail_all
from executors.embed.backend import check_inputs
from executors.embed.backends import make_backend
from executors.embed.ready import STAGE, check_ready
from executors.embed.tokens import Tokenizer
from executors.embed.vectors import check_vectors
from executors.errors import VisualSearchError, as_error
from executors.lifecycle import run_now, start_now, starting
from executors.models.repository import load_towers, tokenizer_path
from executors.models.spec import Tower, text_not_supported
from executors.process_figures import process_figures
from executors.scheduling.turns import Turn, current_turn
from executors.settings import settings, visible_devices, with_flow_backend


class ImageEmbedder(Executor):
    """One replica: one model, with its text tower if it has one, on the device that round-robin assigned."""

    def __init__(self, backend: str | None = None, **kwargs: Any) -> None:
        """Start the replica's backend.

        Args:
            backend: the backend that runs the model, from a flow file (`uses_with`); VS_EMBED_BACKEND overrides it.
        """
        super().__init__(**kwargs)
        with starting(STAGE):
            chosen = with_flow_backend(settings(), backend)
            self._towers = load_towers(chosen.models_dir, chosen.model)
            self._tokenizer = None
            if self._towers.text is not None:
                path = tokenizer_path(chosen.models_dir, self._towers.text)
                self._tokenizer = Tokenizer(path, self._towers.text)
            self._backend = make_backend(chosen, self._towers, visible_devices(), self.runtime_args.name)
            start_now(self._backend.start())

    def close(self) -> None:
        """Called by Jina when the process ends."""
        run_now(self._backend.close())

    @requests(on="/index")
    async def index(self, docs: DocList[ImageDoc], parameters: Any = None, **_: Any) -> DocList[ImageDoc]:
        """Add a vector to every picture. In a picture, `text` is the text that was read in it; it is not embedded."""
        current_turn.set(Turn.of(parameters or {}))
        return await self._embed(docs, texts=False)

    @requests(on=["/search", "/embed"])
    async def query(self, docs: DocList[ImageDoc], parameters: Any = None, **_: Any) -> DocList[ImageDoc]:
        """Add a vector to every picture and text."""
        current_turn.set(Turn.of(parameters or {}))
        return await self._embed(docs, texts=True)

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Report the model, and the backend of this replica."""
        image, text = self._towers.image, self._towers.text
        report = {
            "model_id": image.model_id,
            "name": image.name,
            "dimension": image.dimension,
            "text": text.name if text is not None else None,
            "passes_ready_vectors": True,
            "replica": self.runtime_args.name,
            "replica_count": int(getattr(self.runtime_args, "replicas", 1) or 1),
            **self._backend.status(),
            "process": process_figures(),
        }
        packed = orjson.dumps(report)
        return DocList[ImageDoc]([ImageDoc.from_values(id=document.id, hits=packed) for document in docs])

    async def _embed(self, docs: DocList[ImageDoc], *, texts: bool) -> DocList[ImageDoc]:
        """Add a vector to every document that has none. Vectors from the client are checked and count as this model's
        by default.
        """
        sound = [document for document in docs if document.error is None]
        pictures, queries = [], []
        for document in sound:
            if document.embedding is not None:
                check_ready(document, self._towers.image.model_id, self._towers.image.dimension)
            elif texts and document.tensor is None and document.text is not None:
                queries.append(document)
            else:
                pictures.append(document)
        await asyncio.gather(self._embed_pictures(pictures), self._embed_texts(queries))
        return docs

    async def _embed_pictures(self, documents: Sequence[ImageDoc]) -> None:
        tensors = [_tensor_of(document, self._towers.image) for document in documents]
        await self._run(self._towers.image, documents, tensors)

    async def _embed_texts(self, documents: Sequence[ImageDoc]) -> None:
        if self._tokenizer is None or self._towers.text is None:
            if documents:
                fail_all(documents, text_not_supported(self._towers.image), STAGE)
            return
        texts = [str(document.text) for document in documents]
        # Tokenizing a text of some thousand characters takes milliseconds.
        await self._run(self._towers.text, documents, await asyncio.to_thread(self._tokenizer.encode, texts))

    async def _run(
        self, tower: Tower, documents: Sequence[ImageDoc], inputs: Sequence[NDArray[Any] | VisualSearchError]
    ) -> None:
        """Embed the documents whose input is valid; an invalid one does not make the others fail."""
        sound = []
        for document, given in zip(documents, inputs, strict=True):
            if isinstance(given, VisualSearchError):
                fail_all([document], given, STAGE)
            else:
                sound.append((document, given))
        if not sound:
            return
        embedded = [document for document, _ in sound]
        try:
            vectors = await self._backend.embed(tower, np.stack([given for _, given in sound]))
            checked = check_vectors(vectors, len(sound), tower.dimension)
        except Exception as error:
            fail_all(embedded, as_error(error, STAGE), STAGE)
            return
        for document, vector in zip(embedded, checked, strict=True):
            document.tensor = None
            if isinstance(vector, VisualSearchError):
                document.error = Failure.of(vector, STAGE)
            else:
                document.embedding = vector
                # Both towers make vectors of one space, which has the image model's name.
                document.model_id = self._towers.image.model_id


def _tensor_of(document: ImageDoc, tower: Tower) -> NDArray[Any] | VisualSearchError:
    """The tensor of a picture, or its error."""
    if document.tensor is None:
        return VisualSearchError("no_content", "the document has neither picture nor embedding")
    tensor = np.asarray(document.tensor)
    try:
        check_inputs(tower, tensor[None])
    except VisualSearchError as error:
        return error
    return tensor
