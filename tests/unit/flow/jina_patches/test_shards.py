"""Which flows start without a head and a merge, and what the gateway is told of their shards."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jina import Flow

from executors.flow.jina_patches.shards import leave_out_heads
from executors.flow.sharding import from_text
from tests.support.flows.flow import ROOT

FLOW = ROOT / "flows" / "image-search.yml"


@pytest.fixture(autouse=True)
def same_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep this process as it is: loading a flow sets the variables of its file, and configures the logs."""
    monkeypatch.setattr("executors.flow.variables.configure_logs", lambda *_: None)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def planned(tmp_path: Path, models_dir: Path, change: Any = None) -> Flow:
    """The plan of a flow whose file was changed."""
    described = yaml.safe_load(FLOW.read_text())
    if change is not None:
        change(described)
    file = tmp_path / "flow.yml"
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    flow = Flow.load_config(str(file))
    flow.build(copy_flow=False)
    leave_out_heads(flow)
    return flow


def index_of(flow: Flow) -> Any:
    return flow._deployment_nodes["index"]


def stage(described: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in described["executors"] if each["name"] == name)


def test_head_and_merge_are_left_out_and_the_gateway_knows_the_shards(tmp_path: Path, models_dir: Path) -> None:
    flow = planned(tmp_path, models_dir)
    pods = index_of(flow).pod_args["pods"]
    assert index_of(flow).head_args is None
    assert index_of(flow).uses_after_args is None
    (gateway,) = flow._deployment_nodes["gateway"].pod_args["pods"][0]
    index = from_text(gateway.sharded_stages)["index"]
    assert index.shards == [[f"127.0.0.1:{pod.port[0]}" for pod in pods[number]] for number in (0, 1)]
    assert (index.asks_all("/search"), index.asks_all("/index")) == (True, False)
    addresses = json.loads(gateway.deployments_addresses)
    assert addresses["index"] == [f"grpc://{address}" for replicas in index.shards for address in replicas]
    assert len(addresses["embed"]) == 2


def with_merge(described: dict[str, Any]) -> None:
    stage(described, "index")["uses_after"] = "tests.support.flows.pass_through.PassThrough"


def with_condition(described: dict[str, Any]) -> None:
    stage(described, "embed")["when"] = {"tags__kind": {"$eq": "photo"}}


def with_branches(described: dict[str, Any]) -> None:
    stage(described, "embed")["needs"] = "gateway"
    stage(described, "index")["needs"] = ["preprocess", "embed"]


def with_external_shards(described: dict[str, Any]) -> None:
    stage(described, "index").update(external=True, port=12345)


def with_another_gateway(described: dict[str, Any]) -> None:
    described["gateway"] = {"protocol": ["grpc"], "port": [12346]}


@pytest.mark.parametrize(
    "change", [with_merge, with_condition, with_branches, with_external_shards, with_another_gateway]
)
def test_a_flow_that_only_jina_can_serve_keeps_its_head(change: Any, tmp_path: Path, models_dir: Path) -> None:
    flow = planned(tmp_path, models_dir, change)
    assert index_of(flow).head_args is not None
    assert not hasattr(flow._deployment_nodes["gateway"].args, "sharded_stages")


def test_one_shard_has_no_head_anyway(tmp_path: Path, models_dir: Path) -> None:
    def one_shard(described: dict[str, Any]) -> None:
        stage(described, "index")["shards"] = 1

    flow = planned(tmp_path, models_dir, one_shard)
    assert index_of(flow).head_args is None
    assert not hasattr(flow._deployment_nodes["gateway"].args, "sharded_stages")
