"""What `status --watch` shows of two answers of the service."""

from __future__ import annotations

from typing import Any

from executors.cli.commands.watch_command import state_of


def report(requests: int, seconds: float, **more: Any) -> dict[str, Any]:
    gateway = {"in_flight": 2, "max_concurrency": 256, "requests": requests, "request_seconds": seconds}
    return {"ready": True, "gateway": gateway, **more}


def test_rates_are_of_the_time_between_two_answers() -> None:
    state = state_of(report(130, 4.0), report(100, 1.0), 2.0)
    assert state["requests a second"] == "15.0"
    assert state["mean time"] == "100.0 ms"
    assert "requests a second" not in state_of(report(130, 4.0), None, 0.0)
    assert state_of(report(1, 0.1), report(100, 9.0), 1.0)["requests a second"] == "0.0"  # after a restart
    assert state_of(report(5, 1.0), report(5, 1.0), 1.0)["mean time"] == "-"


def test_silent_parts_and_rebuilds_are_named() -> None:
    graphs = [
        {"collection": "a", "rebuilding": {"done": 1_000, "total": 2_000}},
        {"collection": "b", "rebuilding": None},
    ]
    index = {"documents": None, "documents_counted": 1234, "shards": [{"graphs": graphs}]}
    state = state_of(report(0, 0.0, silent=["index/shard-1"], index=index), None, 0.0)
    assert state["health"] == "ready; silent: index/shard-1"
    assert state["documents"] == "1,234 in the shards that answer"
    assert state["rebuilds"] == "1 running, 1,000 of 2,000 documents"
    assert state["requests in flight"] == "2 of 256"


def test_a_service_that_is_not_ready_says_why() -> None:
    assert state_of({"ready": False, "reason": {"message": "no model"}}, None, 0.0)["health"] == "not ready: no model"
