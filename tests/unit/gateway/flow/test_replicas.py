"""The flow is as ready as its least ready replica, and says which one that is."""

from __future__ import annotations

from typing import Any

import pytest

from executors.errors import VisualSearchError
from executors.gateway.flow.replicas import ReplicaReports, check_endpoints, check_replicas_ready

STARTING = {"code": "unavailable", "message": "no Triton answers"}


def report(number: int, *, ready: bool = True, **more: Any) -> dict[str, Any]:
    return {"replica": f"embed/rep-{number}", "replica_count": 2, "ready": ready, **more}


def test_all_replicas_ready_is_ready() -> None:
    check_replicas_ready("embed", ReplicaReports([report(0), report(1)]))


def test_a_replica_that_does_not_answer_is_missed() -> None:
    silent = {"embed/rep-1": VisualSearchError("unavailable", "it does not answer")}
    with pytest.raises(VisualSearchError, match=r"embed/rep-1 does not answer \(1 of 2 replicas\)") as caught:
        check_replicas_ready("embed", ReplicaReports([report(0)], silent))
    counts = {"total": 2, "answered": 1, "silent": ["embed/rep-1"], "not_ready": []}
    assert caught.value.details == {"stage": "embed", "replicas": counts}


def test_a_replica_that_waits_is_named_with_its_reason() -> None:
    with pytest.raises(VisualSearchError, match="embed/rep-1: no Triton answers") as caught:
        check_replicas_ready("embed", ReplicaReports([report(0), report(1, ready=False, error=STARTING)]))
    assert caught.value.code == "unavailable"
    assert caught.value.details["replicas"]["not_ready"] == [{"replica": "embed/rep-1", "error": STARTING}]


def endpoint(url: str, state: str, error: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"url": url, "models": {"m": {"state": state, "error": error}}, "last_error": "no answer within 5 s"}


def test_every_server_that_is_not_used_is_named() -> None:
    sound, fresh, broken = endpoint("a:1", "ready"), endpoint("a:1", "checking"), endpoint("b:1", "open")
    refused = endpoint("c:1", "refused", {"code": "model_mismatch", "message": "other weights"})
    check_endpoints("embed", [report(0), report(1, endpoints=[sound, fresh])])
    with pytest.raises(VisualSearchError, match="b:1") as caught:
        check_endpoints("embed", [report(0, endpoints=[sound, broken]), report(1, endpoints=[refused])])
    assert caught.value.details["endpoints"] == [
        {"replica": "embed/rep-0", "url": "b:1", "model": "m", "state": "open", "error": "no answer within 5 s"},
        {
            "replica": "embed/rep-1",
            "url": "c:1",
            "model": "m",
            "state": "refused",
            "error": refused["models"]["m"]["error"],
        },
    ]


def test_a_stage_shows_every_replica() -> None:
    shown = ReplicaReports([report(0), report(1)]).to_json()
    assert shown["replica"] == "embed/rep-0"
    assert len(shown["replicas"]) == 2
