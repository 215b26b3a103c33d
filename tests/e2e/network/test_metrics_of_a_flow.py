"""Metrics of a whole flow, on the port of their own: every process, and what the stages did."""

from __future__ import annotations

from pathlib import Path

import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.flows.flow import free_port, running_flow


def test_every_process_of_a_flow_is_seen_through_one_address(
    tmp_path: Path, models_dir: Path, one_picture: bytes
) -> None:
    port = free_port()
    with running_flow(tmp_path, 2, VS_METRICS_PORT=str(port)) as flow:
        for _ in range(4):
            answer = requests.post(f"{flow.http_url}/search", files={"file": one_picture}, timeout=60)
            assert answer.status_code == 200
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=20).text
        same = requests.get(f"{flow.http_url}/metrics", timeout=20).text
        assert requests.get(f"http://127.0.0.1:{port}/status", timeout=20).status_code == 404
    samples = [sample for each in text_string_to_metric_families(text) for sample in each.samples]
    up = {each.labels["process"]: each.value for each in samples if each.name == "visual_search_up"}
    names = ("gateway", "preprocess/rep-0", "embed/rep-0", "embed/rep-1", "index/shard-0", "index/shard-1")
    assert up == dict.fromkeys(names, 1.0)
    stages = {each.labels["stage"] for each in samples if each.name == "visual_search_stage_seconds_count"}
    assert {"preprocess", "embed", "index"} <= stages
    assert sum(each.value for each in samples if each.name == "visual_search_embed_inputs_total") == 4
    assert sum(each.value for each in samples if each.name == "visual_search_preprocess_pictures_total") == 4
    resident = [each.value for each in samples if each.name == "visual_search_process_resident_memory_bytes"]
    assert len(resident) == 6
    assert min(resident) > 1e6
    assert "visual_search_pictures_total" in same
