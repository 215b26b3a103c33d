from __future__ import annotations

import orjson

from executors.embed.triton.stats import CallStats


def test_before_the_first_call_there_are_no_figures_that_mean_nothing() -> None:
    report = CallStats().to_json()
    assert (report["p50_ms"], report["p99_ms"], report["inputs_per_call"], report["last_error"]) == (None,) * 4
    orjson.dumps(report)


def test_what_is_counted() -> None:
    stats = CallStats()
    for number in range(1, 101):
        stats.count_answer(number % 2 + 1, number / 1000)
    stats.count_failure("deadline", "no answer within 5 s")
    stats.count_failure("deadline", "no answer within 5 s")
    stats.count_failure("busy", "its queue is full")
    stats.count_retry()
    stats.count_cancellation()
    report = stats.to_json()
    assert (report["calls"], report["inputs"], report["inputs_per_call"]) == (100, 150, 1.5)
    assert 50 <= report["p50_ms"] <= 51
    assert 99 <= report["p99_ms"] <= 100
    assert report["failures"] == {"deadline": 2, "busy": 1}
    assert (report["retries"], report["cancelled"]) == (1, 1)
    assert report["last_error"]["message"] == "its queue is full"
    orjson.dumps(report)


def test_latencies_are_those_of_the_last_calls() -> None:
    stats = CallStats()
    for _ in range(3000):
        stats.count_answer(1, 9.0)
    for _ in range(2000):
        stats.count_answer(1, 0.001)
    assert stats.to_json()["p99_ms"] == 1.0
