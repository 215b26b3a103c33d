"""Cores are shared, and a container's quota counts."""

from __future__ import annotations

import pytest

from executors.cores import available_cores, cores_of_quota, helper_cores, threads_for, threads_of_run


@pytest.mark.parametrize("replicas", range(1, 20))
@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
def test_replicas_share_the_cores(replicas: int, cores: int) -> None:
    threads = threads_for(replicas, cores, 0)
    assert threads >= 1
    assert threads * replicas <= max(cores, replicas)
    assert (threads + 1) * replicas > cores


def test_a_configured_number_of_threads_wins() -> None:
    assert threads_for(2, 64, 5) == 5
    assert threads_of_run(2, 64, 1) == 1


@pytest.mark.parametrize(
    ("replicas", "cores", "threads"), [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 2, 2), (9, 4, 2), (2, 8, 4), (1, 64, 64)]
)
def test_a_run_of_the_model_has_two_threads_where_it_can(replicas: int, cores: int, threads: int) -> None:
    assert threads_of_run(replicas, cores, 0) == threads


@pytest.mark.parametrize(
    ("replica", "allowed", "helpers"),
    [(0, [0, 1], [1]), (1, [0, 1], [0]), (2, [0, 1], [1]), (1, [4, 6, 9], [4, 9]), (0, [3], []), (0, [], [])],
)
def test_the_helping_threads_of_each_replica_leave_another_core_free(
    replica: int, allowed: list[int], helpers: list[int]
) -> None:
    assert helper_cores(replica, allowed) == helpers


def test_on_many_cores_threads_run_anywhere() -> None:
    assert helper_cores(0, range(64)) == []


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", None),
        ("150000 100000\n", 2),
        ("200000 100000", 2),
        ("1000 100000", 1),
        ("", None),
        ("1 0", None),
    ],
)
def test_a_containers_quota_is_read(quota: str, cores: int | None) -> None:
    assert cores_of_quota(quota) == cores


def test_this_process_has_a_core() -> None:
    assert available_cores() >= 1
