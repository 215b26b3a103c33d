"""The command line and the environment of the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.devices import CPU, Device
from executors.triton_server.command import THREADS_VARIABLE, command_line, environment
from executors.triton_server.installation import Installation

INSTALLED = Installation(Path("/packages/cpu-1"), "cpu")


def arguments(device: Device = CPU) -> list[str]:
    return command_line(
        INSTALLED,
        models_dir=Path("/models"),
        models=["picture", "words"],
        device=device,
        grpc_port=1111,
        metrics_port=2222,
        server_id="embed-0",
        shm_prefix="region-",
    )


def test_it_listens_on_this_machine_only() -> None:
    found = arguments()
    assert {
        "--grpc-address=127.0.0.1",
        "--grpc-port=1111",
        "--metrics-address=127.0.0.1",
        "--metrics-port=2222",
    } <= set(found)
    assert "--allow-http=false" in found
    assert not any("0.0.0.0" in argument for argument in found)


def test_it_loads_the_entries_that_are_wanted_and_no_others() -> None:
    found = arguments()
    assert [argument for argument in found if argument.startswith("--load-model")] == [
        "--load-model=picture",
        "--load-model=words",
    ]
    assert "--model-control-mode=explicit" in found


def test_its_shared_memory_is_its_own() -> None:
    assert "--backend-config=python,shm-region-prefix-name=region-" in arguments()


def test_gpu_metrics_are_asked_for_only_with_a_gpu() -> None:
    assert "--allow-gpu-metrics=false" in arguments()
    assert "--allow-gpu-metrics=true" in arguments(Device("gpu", "0"))


def test_nothing_of_our_environment_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "NVIDIA_VISIBLE_DEVICES",
        "PYTHONSTARTUP",
        "SECRET",
        "CUDA_VISIBLE_DEVICES",
        "PYTHONPATH",
    ):
        monkeypatch.setenv(name, "ours")
    found = environment(INSTALLED, device=CPU, threads=2)
    assert "ours" not in found.values()
    assert found["PYTHONPATH"] == "/packages/cpu-1/env/lib/python3.11/site-packages"
    assert found["VIRTUAL_ENV"] == "/packages/cpu-1/env"


@pytest.mark.parametrize(
    ("device", "visible"), [(CPU, ""), (Device("gpu", "3"), "3"), (Device("gpu", "GPU-8a1c"), "GPU-8a1c")]
)
def test_it_sees_the_gpu_that_was_given_and_no_other(device: Device, visible: str) -> None:
    found = environment(INSTALLED, device=device, threads=1)
    assert found["CUDA_VISIBLE_DEVICES"] == visible
    # Round-robin counts as nvidia-smi does.
    assert found.get("CUDA_DEVICE_ORDER") == ("PCI_BUS_ID" if visible else None)


def test_the_interpreters_own_library_comes_before_those_of_the_packages() -> None:
    folders = environment(INSTALLED, device=CPU, threads=1)["LD_LIBRARY_PATH"].split(":")
    assert folders == [
        "/packages/cpu-1/python-library",
        "/packages/cpu-1/env/lib/python3.11/site-packages/nvidia_pytriton.libs",
    ]


def test_cuda_and_cudnn_are_found_in_the_packages(tmp_path: Path) -> None:
    installed = Installation(tmp_path, "cuda")
    for name in ("cudnn", "cublas"):
        (installed.site_packages / "nvidia" / name / "lib").mkdir(parents=True)
    folders = environment(installed, device=Device("gpu", "0"), threads=1)["LD_LIBRARY_PATH"].split(":")
    assert [Path(folder).parent.name for folder in folders if Path(folder).name == "lib"] == ["cublas", "cudnn"]


def test_threads_are_set_where_they_are_limited() -> None:
    assert environment(INSTALLED, device=CPU, threads=3)[THREADS_VARIABLE] == "3"
    assert THREADS_VARIABLE not in environment(INSTALLED, device=CPU, threads=0)


def test_the_backend_reads_the_variable_that_the_launcher_sets() -> None:
    backend = Path(__file__).parents[3] / "executors" / "triton_server" / "onnxruntime" / "model.py"
    assert f'THREADS_VARIABLE = "{THREADS_VARIABLE}"' in backend.read_text("utf-8")
