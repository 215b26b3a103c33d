"""A flow file is checked: a key that Jina would silently ignore is an error."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest

from executors.errors import VisualSearchError
from executors.flow.validation import check_flow

FLOWS = sorted((Path(__file__).parents[3] / "flows").glob("*.yml"))


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


def test_the_flow_files_of_the_project_pass() -> None:
    # In a process of its own: what a flow file imports first (executors.bootstrap) sets variables, and changes Jina.
    program = """
import sys
from jina import Flow

for path in sys.argv[1:]:
    Flow.load_config(path)
    print(path)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, FLOWS)],
        env={**os.environ, "VS_OPENSEARCH_URLS": "http://127.0.0.1:9200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert len(FLOWS) >= 3
    assert done.stdout.split() == [str(path) for path in FLOWS], done.stderr


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
