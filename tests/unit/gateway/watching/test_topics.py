"""The topics of /watch, from status reports."""

from __future__ import annotations

import json
from typing import Any

from executors.gateway.watching.topics import Event, health_of, rebuilds_of

SOUND: dict[str, Any] = {"ready": True, "reason": None, "silent": [], "index": {"missing": []}, "stages": {"embed": {}}}


def test_a_sound_service_is_ok() -> None:
    assert health_of(SOUND, draining=False) == {
        "ok": True,
        "ready": True,
        "draining": False,
        "reason": None,
        "silent": [],
        "missing_shards": [],
        "errors": {},
    }


def test_everything_that_is_wrong_is_named_and_makes_it_unsound() -> None:
    error = {"code": "unavailable", "message": "no", "details": {}}
    faults: list[dict[str, Any]] = [
        {"ready": False, "reason": error},
        {"silent": ["index/shard-1"]},
        {"index": {"missing": [1], "error": error}},
        {"stages": {"embed": {"error": error}}},
    ]
    told = [health_of(SOUND | fault, draining=False) for fault in faults]
    assert not any(each["ok"] for each in told)
    assert told[0]["reason"] == error
    assert told[1]["silent"] == ["index/shard-1"]
    assert (told[2]["missing_shards"], told[2]["errors"]) == ([1], {"index": error})
    assert told[3]["errors"] == {"embed": error}
    assert not health_of(SOUND, draining=True)["ok"]
    assert not health_of({}, draining=False)["ok"]


def test_rebuilds_are_told_by_shard_and_collection() -> None:
    graphs = [
        {"collection": "a", "rebuilding": {"done": 3, "total": 9}, "rebuilds": 2},
        {"collection": "b", "rebuilding": None, "rebuilds": 1, "failed": "no room"},
    ]
    shards = [
        {"shard": 0, "graphs": graphs},
        {"shard": 1, "graphs": [{"collection": "a", "rebuilds": 4}]},
        {"shard": 2},
    ]
    assert rebuilds_of({"index": {"shards": shards}}) == {
        "running": [{"shard": 0, "collection": "a", "done": 3, "total": 9}],
        "failed": [{"shard": 0, "collection": "b", "reason": "no room"}],
        "finished": 7,
    }
    assert rebuilds_of({}) == {"running": [], "failed": [], "finished": 0}


def test_an_event_is_one_line_of_data_whatever_it_holds() -> None:
    data = {"reason": "two\nlines\r and ä"}
    lines = Event("x-1", "health", data).encoded().decode().split("\n")
    assert lines[:2] == ["id: x-1", "event: health"]
    assert json.loads(lines[2].removeprefix("data: ")) == data
    assert lines[3:] == ["", ""]
