"""The stages of the flow, as one thing to post documents to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jina.serve.runtimes.gateway.streamer import GatewayStreamer

from executors.documents import ImageDoc
from executors.errors import VisualSearchError
from executors.flow.sharding import Sharding
from executors.gateway.flow.direct import DirectRoute, chain_of
from executors.gateway.flow.failures import name_of_target
from executors.gateway.flow.ready_vectors import ReadyVectors
from executors.gateway.flow.replica_calls import ReplicaAnswer, ask_each, silent_replicas
from executors.gateway.flow.route import Route, StageAnswer
from executors.gateway.flow.streamed import StreamedRoute
from executors.gateway.flow.topology import Topology, read_topology
from executors.scheduling.turns import current_turn


class Stages:
    """The executors of the flow.

    Args:
        streamer: Jina's, which knows the graph of the flow and has its connections.
        sharded: the stages whose shards are called without Jina's head, by name.
        direct: whether the stages are called directly where their graph allows it.

    Attributes:
        ready_vectors: what is known, once the flow was joined, about stages that documents with a vector may pass by.
    """

    ready_vectors: ReadyVectors | None = None

    def __init__(self, streamer: GatewayStreamer, sharded: Mapping[str, Sharding], *, direct: bool) -> None:
        self._streamer = streamer
        self._sharded = sharded
        self._topology: Topology | None = None
        chain = chain_of(streamer.topology_graph) if direct or sharded else None
        self._route: Route = StreamedRoute(streamer) if chain is None else DirectRoute(streamer, chain, sharded)

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
        parameters: Mapping[str, Any] | None = None,
        target: str | Sequence[str] | None = None,
    ) -> StageAnswer:
        """Send the documents through every stage that has the endpoint, or through the stages that `target` names.

        The turn of the request goes along; when this is cancelled, the stages stop as well.

        Args:
            target: a stage, or several of them.

        Raises:
            VisualSearchError: `unavailable` with the stage in its details, `deadline_exceeded`, or `internal`.
        """
        names = self._past_ready([target] if isinstance(target, str) else target, documents)
        if names is not None and not names:
            return StageAnswer(list(documents))
        answer = await self._route.post(endpoint, documents, {**(parameters or {}), **self._turn(names)}, names)
        if len(answer.documents) != len(documents):
            message = f"{len(answer.documents)} of {len(documents)} documents came back"
            raise VisualSearchError("unavailable", message, stage=name_of_target(names))
        return answer

    async def ask_each(self, stage: str, endpoint: str) -> list[ReplicaAnswer]:
        """Ask every replica of a stage by itself; the answers stand in the replicas' order."""
        return await ask_each(self._streamer, stage, endpoint)

    async def silent_replicas(self, stage: str) -> list[str]:
        """The names of the stage's processes that don't answer at all: replicas, or its head."""
        return await silent_replicas(self._streamer, stage)

    def calls_shards(self, stage: str) -> bool:
        """Whether the gateway calls the shards of the stage itself: there is no head that could be silent."""
        return stage in self._sharded

    def _past_ready(self, target: Sequence[str] | None, documents: Sequence[ImageDoc]) -> Sequence[str] | None:
        """The target without the stages that documents with a vector need not see."""
        if self.ready_vectors is None or (target is not None and list(target) == [self.topology.index]):
            return target
        left = self.ready_vectors.past(target or self.topology.stages, documents)
        return target if left is None else left

    def _turn(self, target: Sequence[str] | None) -> dict[str, Any]:
        """What a stage has to know to let small requests pass; requests queue in the stages before the index."""
        return {} if target is not None and list(target) == [self.topology.index] else current_turn.get().parameters()
