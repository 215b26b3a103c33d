"""The stages are those of the flow; they may have any names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.gateway.flow.topology import Topology, read_topology

WORK, STORE = ("/index", "/search", "/status"), ("/index", "/search", "/adopt", "/status")


@dataclass
class Node:
    name: str
    endpoints: Sequence[str] | None
    outgoing_nodes: list[Any] = field(default_factory=list)


def chain(*nodes: Node) -> list[Node]:
    """Nodes one behind the other, and the end of the flow, which has no endpoints."""
    end = Node("__end_gateway__", None)
    for node, following in zip(nodes, [*nodes[1:], end], strict=True):
        node.outgoing_nodes.append(following)
    return [*nodes, end]


def test_the_pipeline_is_what_stands_before_the_index() -> None:
    nodes = chain(Node("decode", WORK), Node("vectors", WORK), Node("shop", STORE), Node("rank", WORK))
    found = read_topology(nodes)
    assert found == Topology(("decode", "vectors", "shop", "rank"), ("decode", "vectors"), "shop")
    assert found.others == ("decode", "vectors", "rank")


def test_stages_side_by_side_are_both_before_the_index() -> None:
    index = Node("index", STORE)
    left, right = Node("left", WORK, [index]), Node("right", WORK, [index])
    assert read_topology([left, index, right]).pipeline == ("left", "right")


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        ([Node("a", WORK), Node("b", WORK)], r"it has a, b, none of them"),
        ([Node("a", STORE), Node("b", STORE)], r"it has a, b, 2 of them \(a, b\)"),
    ],
)
def test_a_flow_without_one_index_is_not_ready(nodes: list[Node], told: str) -> None:
    with pytest.raises(VisualSearchError, match=told) as caught:
        read_topology(nodes)
    assert caught.value.code == "not_ready"
