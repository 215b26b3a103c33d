"""The Jina executor for preprocessing: encoded pictures in, tensors and thumbnails out; text queries pass through."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import orjson
from docarray import DocList
from jina import Executor, requests

from executors.cores import available_cores, threads_for
from executors.documents import Failure, ImageDoc
from executors.errors import VisualSearchError, as_error
from executors.lifecycle import starting
from executors.models.repository import load_spec
from executors.models.spec import text_not_supported
from executors.preprocess.cost import cost_of
from executors.preprocess.decode import configure_opencv
from executors.preprocess.header import ImageLimits
from executors.preprocess.pipeline import ImagePipeline
from executors.process_figures import process_figures
from executors.scheduling.fair_threads import Cost, FairThreads
from executors.scheduling.turns import Turn
from executors.settings import settings

STAGE = "preprocess"
_HEADER_THREADS = 2


class ImagePreprocessor(Executor):
    """Decodes pictures, turns them upright, and fits them to the model's input; each in a thread, since OpenCV releases
    the GIL.

    Requests take turns, and small ones have threads of their own. Work that has not begun when its caller leaves is
    dropped.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with starting(STAGE):
            chosen = settings()
            configure_opencv()
            self._pipeline = ImagePipeline(
                load_spec(chosen.models_dir, chosen.model),
                ImageLimits(chosen.max_image_bytes, chosen.max_image_pixels, chosen.max_image_side),
                thumbnails=chosen.thumbnails == "on",
            )
            self._threads = threads_for(1, available_cores(), chosen.threads)
            # One picture that takes long leaves a thread for the others.
            small = max(2, self._threads)
            self._pool = FairThreads(bulk=self._threads, small=small, budget=chosen.max_decoded_bytes, name="decode")
            # A request of many headers leaves a thread for the others.
            self._headers = ThreadPoolExecutor(_HEADER_THREADS, thread_name_prefix="header")

    def close(self) -> None:
        """Called by Jina when the process ends."""
        self._headers.shutdown(wait=False, cancel_futures=True)
        self._pool.close()

    @requests(on="/index")
    async def index(self, docs: DocList[ImageDoc], parameters: Any = None, **_: Any) -> DocList[ImageDoc]:
        """Make a tensor and a thumbnail of every picture. In a picture, `text` is the text that was read in it."""
        return await self._prepare(docs, Turn.of(parameters or {}), query=False)

    @requests(on=["/search", "/embed"])
    async def query(self, docs: DocList[ImageDoc], parameters: Any = None, **_: Any) -> DocList[ImageDoc]:
        """Make only the tensor, since the picture of a query is not stored."""
        return await self._prepare(docs, Turn.of(parameters or {}), query=True)

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Report the settings of this stage."""
        report = orjson.dumps(
            {
                "threads": self._threads,
                "model": self._pipeline.spec.name,
                "passes_ready_vectors": True,
                "decodes": self._pool.status(),
                "process": process_figures(),
            }
        )
        return DocList[ImageDoc]([ImageDoc.from_values(id=document.id, hits=report) for document in docs])

    async def _prepare(self, docs: DocList[ImageDoc], turn: Turn, *, query: bool) -> DocList[ImageDoc]:
        costs = await asyncio.get_running_loop().run_in_executor(self._headers, self._costs_of, docs, query)
        work = [
            self._pool.submit(partial(self._prepare_one, document, query), turn, cost)
            for document, cost in zip(docs, costs, strict=True)
        ]
        # Cancelling this also cancels the waiting work.
        await asyncio.gather(*map(asyncio.wrap_future, work))
        return docs

    def _costs_of(self, docs: Sequence[ImageDoc], query: bool) -> list[Cost]:
        return [
            Cost()
            if document.blob is None or document.error is not None
            else cost_of(document.blob, self._pipeline, thumbnail=not query)
            for document in docs
        ]

    def _prepare_one(self, document: ImageDoc, query: bool) -> None:
        """Replace the picture by the tensor and thumbnail; an invalid picture becomes the document's error, never an
        exception.
        """
        if document.error is not None:
            return
        try:
            # A picture or tensor beside a ready vector gets the same checks, even if it is not used.
            if document.blob:
                prepared = self._pipeline.prepare(document.blob, thumbnail=not query)
            elif document.tensor is not None:
                prepared = self._pipeline.prepare_tensor(document.tensor, thumbnail=not query)
            elif document.embedding is not None:
                return
            else:
                self._check_text(document, query)
                return
            document.thumbnail = prepared.thumbnail
            # A ready vector is kept unchanged; its picture is only needed for the thumbnail.
            document.tensor = None if document.embedding is not None else prepared.tensor
        except Exception as error:
            document.error = Failure.of(as_error(error, STAGE), STAGE)
            document.tensor = None
        finally:
            document.blob = None

    def _check_text(self, document: ImageDoc, query: bool) -> None:
        """Check a document without picture and vector: it must be a text query.

        Raises:
            VisualSearchError: `no_content`, `text_not_supported`.
        """
        if not query:
            message = "the document has neither `blob` nor `tensor` nor `embedding`; a `uri` is only a label"
            if document.text is not None:
                message += ", and a `text` is only the text that was read in a picture"
            raise VisualSearchError("no_content", message)
        if document.text is None:
            message = "the document has neither `blob` nor `tensor` nor `embedding` nor `text`; a `uri` is only a label"
            raise VisualSearchError("no_content", message)
        if not self._pipeline.spec.text_model:
            raise text_not_supported(self._pipeline.spec)
