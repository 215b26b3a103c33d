"""Shards without a head and a merge of their own: the gateway calls them and merges their answers itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from jina import Flow
from jina.enums import FlowBuildLevel
from jina.orchestrate.deployments import Deployment

from executors.flow.readiness import tell
from executors.flow.sharding import Sharding, read_polling, to_text
from executors.settings import read_settings

GATEWAY: Final = "gateway"
_OUR_GATEWAY: Final = "executors.gateway.gateway.VisualSearchGateway"
# The merge that the gateway can do itself.
_OUR_MERGE: Final = "executors.index.executor.ShardMerge"


def call_shards_directly() -> None:
    """Start no head and no merge for stages whose shards the gateway calls itself.

    `shards`, `polling`, `uses_after`, timeouts and retries stay in the flow file and mean the same. A flow that this does
    not cover runs as Jina starts it, and so do Kubernetes and Docker Compose, which are made from the flow without a start.
    """
    start = Flow.start

    def start_directly(self: Flow) -> Any:
        if self._build_level.value < FlowBuildLevel.GRAPH.value:
            self.build(copy_flow=False)
        if read_settings().stage_calls == "direct":
            leave_out_heads(self)
        return start(self)

    Flow.start = start_directly


def leave_out_heads(flow: Flow) -> None:
    """Take head and merge out of the plan of a built flow, and give the gateway the addresses of the shards."""
    gateway = flow._deployment_nodes[GATEWAY]
    stages = {name: stage for name, stage in flow._deployment_nodes.items() if name != GATEWAY}
    sharded = {name: stage for name, stage in stages.items() if stage.head_args is not None}
    if gateway.args.uses != _OUR_GATEWAY or not sharded:
        return
    if (reason := _uncovered(stages, sharded)) is not None:
        tell(f"requests go through Jina's own head and merge, since {reason}")
        return
    found = {}
    for name, stage in sharded.items():
        found[name] = Sharding(read_polling(stage.args.polling), _addresses(stage))
        stage.pod_args["head"] = stage.pod_args["uses_after"] = None
    addresses = flow._get_deployments_addresses()
    for name, sharding in found.items():
        addresses[name] = [f"grpc://{address}" for replicas in sharding.shards for address in replicas]
    gateway.args.deployments_addresses = json.dumps(addresses)
    gateway.args.sharded_stages = to_text(found)
    gateway.update_pod_args()


def _uncovered(stages: Mapping[str, Deployment], sharded: Mapping[str, Deployment]) -> str | None:
    """What of the flow only Jina's own way can do; None if there is nothing."""
    previous = GATEWAY
    for name, stage in stages.items():
        if set(stage.needs) != {previous}:
            return f"the stage {name!r} does not follow the one before it"
        if stage.args.when:
            return f"the stage {name!r} has a condition (`when`)"
        previous = name
    for name, stage in sharded.items():
        if stage.external or stage._is_docker:
            return f"the shards of {name!r} do not run as processes of this flow"
        if stage.args.uses_after != _OUR_MERGE:
            return f"the stage {name!r} has a merge of its own (`uses_after`)"
        if stage.uses_before_args is not None or stage.args.stateful or stage.grpc_metadata:
            return f"the stage {name!r} uses what only Jina's head knows (`uses_before`, `stateful`, `grpc_metadata`)"
    return None


def _addresses(stage: Deployment) -> list[list[str]]:
    pods = stage.pod_args["pods"]
    return [[f"{pod.host}:{pod.port[0]}" for pod in pods[number]] for number in sorted(pods)]
