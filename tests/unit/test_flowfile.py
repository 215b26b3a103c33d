"""A flow file is checked: what Jina would ignore in silence is an error here."""

import copy
import os
from pathlib import Path

import pytest
import yaml

from executors.errors import VisualSearchError
from executors.flowfile import check_flow

FLOWS = sorted((Path(__file__).parents[2] / "flows").glob("*.yml"))


@pytest.fixture
def flow() -> dict:
    return {
        "jtype": "Flow",
        "version": "1",
        "with": {"timeout_send": 1000},
        "gateway": {"protocol": ["http", "grpc"], "port": [1, 2]},
        "executors": [{"name": "index", "shards": 2, "polling": {"/index": "ANY", "*": "ALL"}}],
    }


def refused(data: dict) -> VisualSearchError:
    with pytest.raises(VisualSearchError) as caught:
        check_flow(data)
    assert caught.value.code == "invalid_flow"
    return caught.value


def test_a_sound_flow_passes(flow: dict) -> None:
    check_flow(flow)


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.name)
def test_the_flow_files_of_the_project_pass(path: Path) -> None:
    import executors.bootstrap  # noqa: F401 - sets the variables

    check_flow(yaml.safe_load(os.path.expandvars(path.read_text()).replace("${{ ENV.VS_", "${{ SET.VS_")))


@pytest.mark.parametrize(
    ("place", "key", "near"),
    [
        ((), "gatway", "gateway"),
        (("with",), "timeout_sent", "timeout_send"),
        (("gateway",), "protocols", "protocol"),
        (("executors", 0), "shard", "shards"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest_right_one(flow: dict, place: tuple, key: str, near: str) -> None:
    data = copy.deepcopy(flow)
    target = data
    for step in place:
        target = target[step]
    target[key] = 1
    message = refused(data).message
    assert key in message
    assert near in message


def test_a_variable_that_is_not_set_is_named(flow: dict) -> None:
    flow["executors"][0]["replicas"] = "${{ ENV.VS_NOBODY_SETS_THIS }}"
    assert "VS_NOBODY_SETS_THIS" in refused(flow).message


@pytest.mark.parametrize("polling", [{"index": "ANY"}, {"/index": "SOME"}])
def test_wrong_polling_is_refused(flow: dict, polling: dict) -> None:
    flow["executors"][0]["polling"] = polling
    assert "polling" in refused(flow).message


def test_a_flow_without_executors_is_refused(flow: dict) -> None:
    del flow["executors"]
    refused(flow)
