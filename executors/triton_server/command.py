"""The command line and the environment of a managed Triton: pure functions of its models and device."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from executors.devices import Device
from executors.triton_server.installation import Installation

# Read by the ONNX Runtime backend (onnxruntime/model.py): threads for the instances of one model together.
THREADS_VARIABLE: Final = "ORT_INTRA_OP_THREADS"

# Where a container or WSL puts the NVIDIA driver's libraries, unless the loader finds them anyway.
_DRIVER_FOLDERS: Final = (Path("/usr/local/nvidia/lib64"), Path("/usr/lib/wsl/lib"))
# Loading a model on a GPU, or building a TensorRT engine for it, can take minutes; the default is 30 s.
_LOADING_S: Final = 600
_DRAINING_S: Final = 5


def command_line(
    installation: Installation,
    *,
    models_dir: Path,
    models: Sequence[str],
    device: Device,
    grpc_port: int,
    metrics_port: int,
    server_id: str,
    shm_prefix: str,
) -> list[str]:
    """The server's program and arguments.

    It listens on this machine only, and loads only the entries `models` of the repository. Configurations are used
    unchanged: otherwise Triton would start another process for each model to complete configurations that are already
    complete.
    """
    gpu = device.kind == "gpu"
    options = {
        "id": server_id,
        "model-repository": models_dir,
        "backend-directory": installation.backends,
        "model-control-mode": "explicit",
        "allow-http": "false",
        "allow-grpc": "true",
        "grpc-address": "127.0.0.1",
        "grpc-port": grpc_port,
        "allow-metrics": "true",
        "metrics-address": "127.0.0.1",
        "metrics-port": metrics_port,
        "allow-gpu-metrics": str(gpu).lower(),
        "exit-timeout-secs": _DRAINING_S,
    }
    if not gpu:
        options["pinned-memory-pool-byte-size"] = 0
    return [
        str(installation.server),
        *(f"--{name}={value}" for name, value in options.items()),
        "--disable-auto-complete-config",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--backend-config=python,stub-timeout-seconds={_LOADING_S}",
        *(f"--load-model={name}" for name in models),
    ]


def environment(
    installation: Installation,
    *,
    device: Device,
    threads: int,
    home: Path | None = None,
    library_folders: Sequence[Path] | None = None,
) -> dict[str, str]:
    """All variables of the server's process; nothing is inherited.

    Args:
        installation: the server's packages.
        device: the one GPU that the server sees, or the CPU.
        threads: for the computing of one model; 0 for as many as there are cores.
        home: where its libraries may keep caches; by default the installation's folder.
        library_folders: the folders of its shared libraries; by default those of the installation.
    """
    folders = list(library_folders or installation.library_folders)
    variables = {
        "PATH": f"{installation.environment / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": str(installation.environment),
        "PYTHONPATH": str(installation.site_packages),
        "PYTHONNOUSERSITE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "HOME": str(home or installation.folder),
        "LANG": "C.UTF-8",
        "CUDA_VISIBLE_DEVICES": device.id if device.kind == "gpu" else "",
    }
    if device.kind == "gpu":
        # Round-robin counts GPUs as nvidia-smi does, by their bus; CUDA alone would put the fastest first.
        variables["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
        folders += [folder for folder in _DRIVER_FOLDERS if folder.is_dir()]
    variables["LD_LIBRARY_PATH"] = ":".join(str(folder) for folder in folders)
    if threads:
        variables |= {THREADS_VARIABLE: str(threads), "OMP_NUM_THREADS": str(threads)}
    # numpy only joins and splits arrays here: its own threads would only take memory.
    variables["OPENBLAS_NUM_THREADS"] = "1"
    return variables
