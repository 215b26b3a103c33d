"""The stages of the flow, as the flow file names and orders them: learned from Jina's graph, not from names in this code.

A stage that is added to a flow file takes part in requests, `/status` and `/health/full` without a change here. It binds the
endpoints of the stages before it, and declares what the gateway acts on in its report (its answer to `/status`):

- `ready: false` with `error`: the flow is not ready yet;
- `model_id`, `name`, `dimension`, `text`: the model that the collections are bound to;
- `passes_ready_vectors: true`: it only checks documents that bring their vector; the gateway checks these itself, and
  sends them past the stage;
- `endpoints`: servers that it calls, each with the state of its models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from executors.errors import VisualSearchError

# Only an index binds it: the gateway tells shards with it which index they belong to.
_OF_AN_INDEX: Final = "/adopt"


@dataclass(frozen=True, slots=True)
class Topology:
    """The stages by name.

    Attributes:
        stages: all of them, in the order in which a request passes them.
        pipeline: those that make of a document what the index stores.
        index: the stage that stores and searches.
    """

    stages: tuple[str, ...]
    pipeline: tuple[str, ...]
    index: str

    @property
    def others(self) -> tuple[str, ...]:
        """All stages but the index."""
        return tuple(stage for stage in self.stages if stage != self.index)


class Node(Protocol):
    """A stage in Jina's graph."""

    name: str
    outgoing_nodes: list[Any]
    endpoints: Sequence[str] | None
    """None until it was asked, and at the end of the flow."""


def read_topology(nodes: Sequence[Node]) -> Topology:
    """Read the graph, once every stage has told its endpoints.

    Raises:
        VisualSearchError: `not_ready` when no stage, or more than one, is an index.
    """
    stages = [node for node in nodes if node.endpoints is not None]
    indexes = [node.name for node in stages if _OF_AN_INDEX in (node.endpoints or ())]
    if len(indexes) != 1:
        found = f"{len(indexes)} of them ({', '.join(indexes)})" if indexes else "none of them"
        message = (
            f"the flow needs one stage that is an index; it has {', '.join(node.name for node in stages)}, {found}"
        )
        raise VisualSearchError("not_ready", message)
    index = indexes[0]
    pipeline = [node.name for node in stages if node.name != index and index in _names_behind(node)]
    return Topology(tuple(node.name for node in stages), tuple(pipeline), index)


def _names_behind(node: Node) -> Iterator[str]:
    for each in node.outgoing_nodes:
        yield each.name
        yield from _names_behind(each)
