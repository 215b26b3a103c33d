from __future__ import annotations

import pytest

from executors.embed.devices import CPU, Device, parse_device
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
