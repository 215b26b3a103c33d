"""Calls the stages of the flow; every failure that Jina reports becomes one typed error."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from docarray import DocList
from jina.excepts import InternalNetworkError
from jina.proto import jina_pb2
from jina.serve.runtimes.gateway.streamer import GatewayStreamer

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.flow.outgoing import ended_with_caller
from executors.gateway.flow.replica_calls import ReplicaAnswer, ask_each, silent_replicas
from executors.gateway.flow.topology import Topology, read_topology
from executors.scheduling.turns import current_turn

_log = logging.getLogger(__name__)
_STAGE_IN_DETAILS = re.compile(r"deployment [`']?([\w-]+)")

# How a head, and how `executors.flow.jina_patches.deliveries`, name what did not answer.
_PROCESS_IN_DETAILS = re.compile(r"\b[\w-]+/(?:shard-\d+|uses_\w+-\d+|rep-\d+)")


@dataclass(slots=True)
class StageAnswer:
    """What came back from the flow, and how long each stage held the request, in milliseconds."""

    documents: list[ImageDoc]
    took_ms: dict[str, float] = field(default_factory=dict)


class Stages:
    """The executors of the flow, as one thing to post documents to."""

    def __init__(self, streamer: GatewayStreamer) -> None:
        self._streamer = streamer
        self._topology: Topology | None = None

    @property
    def topology(self) -> Topology:
        """The stages by name.

        Raises:
            VisualSearchError: `not_ready`.
        """
        if self._topology is None:
            self._topology = read_topology(self._streamer.topology_graph.all_nodes)
        return self._topology

    async def post(
        self,
        endpoint: str,
        documents: Sequence[ImageDoc],
        parameters: dict[str, Any] | None = None,
        target: str | Sequence[str] | None = None,
    ) -> StageAnswer:
        """Send the documents through every stage that has the endpoint, or through the stages that `target` names.

        The turn of the request goes along; when this is cancelled, the stages stop as well.

        Args:
            target: a stage, or several of them.

        Raises:
            VisualSearchError: `unavailable` with the stage in its details, `deadline_exceeded`, or `internal`.
        """
        names = [target] if isinstance(target, str) else target
        sent = {**(parameters or {}), **self._turn(names)}
        try:
            with ended_with_caller():
                return await self._post(endpoint, documents, sent, names)
        except VisualSearchError:
            raise
        except InternalNetworkError as error:
            raise self._network_error(error, names) from None
        except Exception as error:
            # Failures that persist through Jina's retries (CANCELLED, UNKNOWN, INTERNAL) end as errors of Jina's own code.
            _log.error("%s: %r", endpoint, error)
            raise VisualSearchError("unavailable", "a stage of the flow failed", stage=_told(names)) from None

    async def _post(
        self, endpoint: str, documents: Sequence[ImageDoc], parameters: dict[str, Any], target: Sequence[str] | None
    ) -> StageAnswer:
        async for response in self._streamer.stream_docs(
            docs=DocList[ImageDoc](documents),
            exec_endpoint=endpoint,
            target_executor=None if target is None else f"^({'|'.join(map(re.escape, target))})$",
            parameters=parameters,
            request_size=len(documents),
            return_results=True,
            return_type=DocList[ImageDoc],
        ):
            self._raise_for_status(response, endpoint)
            # Jina sets a class of its own making where the last stage was left out.
            response.document_array_cls = DocList[ImageDoc]
            answered = list(response.docs)
            if len(answered) != len(documents):
                raise VisualSearchError(
                    "unavailable", f"{len(answered)} of {len(documents)} documents came back", stage=_told(target)
                )
            return StageAnswer(answered, _durations(response))
        raise VisualSearchError("unavailable", "the flow gave no answer", stage=_told(target))

    async def ask_each(self, stage: str, endpoint: str) -> list[ReplicaAnswer]:
        """Ask every replica of a stage by itself; the answers stand in the replicas' order."""
        return await ask_each(self._streamer, stage, endpoint)

    async def silent_replicas(self, stage: str) -> list[str]:
        """The names of the stage's processes that don't answer at all: replicas, or its head."""
        return await silent_replicas(self._streamer, stage)

    def _turn(self, target: Sequence[str] | None) -> dict[str, Any]:
        """What a stage has to know to let small requests pass; requests queue in the stages before the index."""
        return {} if target is not None and list(target) == [self.topology.index] else current_turn.get().parameters()

    def _network_error(self, error: InternalNetworkError, target: Sequence[str] | None) -> VisualSearchError:
        found = _STAGE_IN_DETAILS.search(str(error.details()))
        stage = found.group(1) if found else _told(target)
        silent = sorted(set(_PROCESS_IN_DETAILS.findall(str(error.details()))))
        named = f" ({', '.join(silent)})" if silent else ""
        details = {"stage": stage, **({"silent": silent} if silent else {})}
        _log.error("stage %r does not answer%s: %s", stage, named, error.code())
        if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
            return VisualSearchError(
                "deadline_exceeded", f"the stage {stage!r} did not answer in time{named}", **details
            )
        return VisualSearchError("unavailable", f"the stage {stage!r} does not answer{named}", **details)

    def _raise_for_status(self, response: Any, endpoint: str) -> None:
        status = response.header.status
        if status.code == jina_pb2.StatusProto.ERROR:
            stage = status.exception.executor or "flow"
            _log.error("%s: %s: %s", endpoint, stage, status.description)
            raise VisualSearchError("internal", "a stage of the flow failed; its log has the details", stage=stage)


def _told(target: Sequence[str] | None) -> str:
    """The stage that an error names: the only one that was asked, or the flow."""
    return target[0] if target is not None and len(target) == 1 else "flow"


def _durations(response: Any) -> dict[str, float]:
    return {
        route.executor: round((route.end_time.ToMicroseconds() - route.start_time.ToMicroseconds()) / 1000, 2)
        for route in response.routes
        if route.executor != "gateway" and route.end_time.seconds
    }
