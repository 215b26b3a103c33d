"""Posts documents by Jina's own streamer, which takes any flow."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from docarray import DocList
from jina.serve.runtimes.gateway.streamer import GatewayStreamer

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.flow.outgoing import ended_with_caller
from executors.gateway.flow.failures import call_failed, check_status, name_of_target
from executors.gateway.flow.route import StageAnswer


class StreamedRoute:
    """The way through Jina's graph of stages, its heads and its merges."""

    def __init__(self, streamer: GatewayStreamer) -> None:
        self._streamer = streamer

    async def post(
        self, endpoint: str, documents: Sequence[ImageDoc], parameters: Mapping[str, Any], target: Sequence[str] | None
    ) -> StageAnswer:
        """See `route.Route`."""
        try:
            with ended_with_caller():
                return await self._post(endpoint, documents, parameters, target)
        except VisualSearchError:
            raise
        except Exception as error:
            raise call_failed(error, endpoint, name_of_target(target)) from None

    async def _post(
        self, endpoint: str, documents: Sequence[ImageDoc], parameters: Mapping[str, Any], target: Sequence[str] | None
    ) -> StageAnswer:
        async for response in self._streamer.stream_docs(
            docs=DocList[ImageDoc](documents),
            exec_endpoint=endpoint,
            target_executor=None if target is None else f"^({'|'.join(map(re.escape, target))})$",
            parameters=dict(parameters),
            request_size=len(documents),
            return_results=True,
            return_type=DocList[ImageDoc],
        ):
            check_status(response, endpoint)
            # Jina sets a class of its own making where the last stage was left out.
            response.document_array_cls = DocList[ImageDoc]
            return StageAnswer(list(response.docs), _durations(response))
        raise VisualSearchError("unavailable", "the flow gave no answer", stage=name_of_target(target))


def _durations(response: Any) -> dict[str, float]:
    return {
        route.executor: round((route.end_time.ToMicroseconds() - route.start_time.ToMicroseconds()) / 1000, 2)
        for route in response.routes
        if route.executor != "gateway" and route.end_time.seconds
    }
