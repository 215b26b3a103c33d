from __future__ import annotations

import pytest

from executors.devices import CPU, Device, Gpus, check_devices, list_gpus, parse_device, requested_devices
from executors.errors import VisualSearchError

LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 3g.20gb     Device  0: (UUID: MIG-66f6a9ee-7a51-5f3a-8a0c-6b0dfd1f6b0f)
  MIG 3g.20gb     Device  1: (UUID: MIG-2b3b9ac1-5a2e-5a79-90a1-2f6c2f0d8b11)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a78)
"""


@pytest.mark.parametrize(
    ("in_flow", "inherited", "shared_out"),
    [
        ("RR", None, "RR"),
        ("RR", "RR1,3", "RR1,3"),
        ("RR", "2,3", "RR2,3"),
        ("RR", "GPU-a,GPU-b", "RRGPU-a,GPU-b"),
        ("RR", "", ""),
        ("RR", "-1", "-1"),
        ("RR0:2", "2,3", "RR0:2"),
        ("1", "RR", "1"),
    ],
)
def test_a_plain_rr_shares_out_what_the_environment_gives(in_flow: str, inherited: str | None, shared_out: str) -> None:
    assert requested_devices(in_flow, inherited) == shared_out


def test_parts_of_a_gpu_do_not_count_as_gpus() -> None:
    gpus = list_gpus(LISTING)
    assert gpus.count == 2
    assert sorted(uuid[:5] for uuid in gpus.uuids) == ["GPU-5", "GPU-6", "MIG-2", "MIG-6"]
    assert list_gpus("No devices were found\n") == Gpus(0)


@pytest.mark.parametrize("assigned", [[0, 1, 0], ["0", "1"], ["GPU-5d5ba0d6", "MIG-66f6a9ee"], []])
def test_devices_that_are_there_pass(assigned: list[object]) -> None:
    check_devices("RR", assigned, list_gpus(LISTING))


@pytest.mark.parametrize(
    ("value", "assigned", "named"),
    [("RR7,9", [7, 9], "GPU 7"), ("RRx", ["x"], "'x'"), ("RR,", ["", ""], "''"), ("RRGPU-9", ["GPU-9"], "GPU-9")],
)
def test_a_device_that_is_not_there_is_named(value: str, assigned: list[object], named: str) -> None:
    with pytest.raises(VisualSearchError, match="CUDA_VISIBLE_DEVICES") as caught:
        check_devices(value, assigned, list_gpus(LISTING))
    assert caught.value.code == "invalid_setting"
    assert named in caught.value.message


def test_device_numbers_are_taken_on_trust_where_the_count_is_not_known() -> None:
    check_devices("RR5", [5], None)


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
