"""A flow of Jina's own whose executors do nothing: the least that a flow of as many executors costs.

It takes its ports from VS_HTTP_PORT and VS_GRPC_PORT.
"""

from __future__ import annotations

import os

from jina import Executor, Flow, requests


class Nothing(Executor):
    """Pass on what comes."""

    @requests
    def pass_on(self, docs: object, **_kwargs: object) -> None:
        """Do nothing."""


def main() -> None:
    """Run the flow until it is interrupted: one executor, two replicas of another, and two shards."""
    ports = [int(os.environ["VS_HTTP_PORT"]), int(os.environ["VS_GRPC_PORT"])]
    flow = Flow(protocol=["http", "grpc"], port=ports)
    flow = flow.add(name="preprocess", uses=Nothing).add(name="embed", uses=Nothing, replicas=2)
    with flow.add(name="index", uses=Nothing, shards=2) as running:
        running.block()


if __name__ == "__main__":
    main()
