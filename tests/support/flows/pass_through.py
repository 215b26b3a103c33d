"""A stage that nothing in the gateway names: it lets documents pass, and counts them."""

from typing import Any

import orjson
from docarray import DocList
from jina import Executor, requests

from executors.documents import ImageDoc


class WithoutEndpoints(Executor):
    """Binds no endpoint of the stages before it."""

    @requests(on="/other")
    async def other(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Return the documents."""
        return docs


class PassThrough(Executor):
    """Stands between embedding and index in a flow file of a test."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._passed = 0

    @requests(on=["/index", "/search", "/embed"])
    async def pass_on(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """Count the documents."""
        self._passed += len(docs)
        return docs

    @requests(on="/status")
    async def status(self, docs: DocList[ImageDoc], **_: Any) -> DocList[ImageDoc]:
        """How many documents passed."""
        report = orjson.dumps({"passed": self._passed})
        return DocList[ImageDoc]([ImageDoc.from_values(id=document.id, hits=report) for document in docs])
