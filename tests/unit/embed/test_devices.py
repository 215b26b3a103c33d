from __future__ import annotations

import pytest

from executors.embed.devices import CPU, Device, available_cores, cores_of_quota, parse_device, threads_for
from executors.errors import VisualSearchError


@pytest.mark.parametrize("visible", ["", " ", "-1", "-1,0", "RR", "RR0:2", "RR1,3", "RRGPU-a,GPU-b", "RR9:", "RR::2"])
def test_no_gpu_and_an_unresolved_round_robin_mean_the_cpu(visible: str) -> None:
    assert parse_device(visible) == CPU


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        ("0", "0"),
        (" 3 ", "3"),
        ("2,1", "2"),
        ("GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
        ("MIG-GPU-8932f937/7/0", "MIG-GPU-8932f937/7/0"),
    ],
)
def test_a_number_or_uuid_means_that_gpu(visible: str, expected: str) -> None:
    device = parse_device(visible)
    assert device == Device("gpu", expected)
    assert str(device) == f"gpu {expected}"


@pytest.mark.parametrize("visible", ["none", "0x1", "-2", "rr", "GPU-", "1.5", "all"])
def test_a_typo_is_refused_instead_of_running_on_the_cpu(visible: str) -> None:
    with pytest.raises(VisualSearchError, match="CUDA_VISIBLE_DEVICES") as caught:
        parse_device(visible)
    assert caught.value.code == "invalid_setting"


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
