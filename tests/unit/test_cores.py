"""Cores are shared, and a container's quota counts."""

from __future__ import annotations

import pytest

from executors.cores import available_cores, cores_of_quota, threads_for


@pytest.mark.parametrize("replicas", range(1, 20))
@pytest.mark.parametrize("cores", [1, 2, 3, 8, 64])
def test_replicas_share_the_cores(replicas: int, cores: int) -> None:
    threads = threads_for(replicas, cores, 0)
    assert threads >= 1
    assert threads * replicas <= max(cores, replicas)
    assert (threads + 1) * replicas > cores


def test_a_configured_number_of_threads_wins() -> None:
    assert threads_for(2, 64, 5) == 5


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
