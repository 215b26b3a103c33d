"""A stage with a defect, for tests of what a flow logs of it."""

from typing import Any

from docarray import DocList
from jina import requests

from executors.documents import ImageDoc
from executors.preprocess.executor import ImagePreprocessor


class BrokenPreprocessor(ImagePreprocessor):
    """Fails for each picture, in a thread, and then for the request as a whole."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pipeline.prepare = self._fail  # type: ignore[method-assign, assignment]  # the defect

    def _fail(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("the picture is too beautiful")

    @requests(on=["/search", "/embed"])
    async def query(self, docs: DocList[ImageDoc], parameters: Any = None, **_: Any) -> DocList[ImageDoc]:
        """Fail."""
        await super().query(docs, parameters)
        raise RuntimeError("the whole request, too")
