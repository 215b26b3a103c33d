"""The choice of the backend that runs the model, by the settings."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from executors.cores import allowed_cores, available_cores, helper_cores, threads_for, threads_of_run
from executors.devices import Device, parse_device
from executors.embed.backend import EmbeddingBackend
from executors.models.spec import Towers
from executors.settings import Settings

if TYPE_CHECKING:
    from executors.triton_server.installation import Installation

# The time that a stage keeps back from its own timeout, so that it answers with its own error before Jina gives up on
# it and asks another replica: retries would multiply.
_OF_STAGE_TIMEOUT: Final = 0.8

_REPLICA: Final = re.compile(r"/rep-(\d+)$")


def make_backend(settings: Settings, towers: Towers, visible_devices: str, pod: str = "") -> EmbeddingBackend:
    """Make, but not start, the backend that `settings.embed_backend` names.

    Args:
        settings: all settings; the backend gets those it needs as plain values.
        towers: the model.
        visible_devices: the value of `CUDA_VISIBLE_DEVICES` in this replica.
        pod: Jina's name of this replica, such as `embed/rep-2`.

    Raises:
        VisualSearchError: `invalid_setting` when `visible_devices` names no device; `triton_failed`.
    """
    device = parse_device(visible_devices)
    cores = available_cores()
    if settings.embed_backend == "onnx":
        from executors.embed.onnx import OnnxBackend

        return OnnxBackend(
            settings.models_dir,
            towers,
            device,
            batch=settings.embed_batch,
            threads=threads_of_run(settings.replicas, cores, settings.threads),
            helper_cores=helper_cores(replica_number(pod), allowed_cores()),
        )
    timeout_s = settings.triton_timeout_ms / 1000
    total_timeout_s = settings.stage_timeout_ms * _OF_STAGE_TIMEOUT / 1000
    if settings.embed_backend == "triton":
        from executors.embed.triton.backend import TritonBackend

        return TritonBackend(
            settings.models_dir,
            towers,
            settings.triton_urls,
            preferred=replica_number(pod),
            timeout_s=timeout_s,
            total_timeout_s=total_timeout_s,
            in_flight=settings.triton_in_flight,
            cpu_batch=settings.embed_batch,
        )
    from executors.embed.triton.managed import ManagedTritonBackend
    from executors.triton_server.server import TritonServer

    server = TritonServer(
        install_triton(settings, device),
        models_dir=settings.models_dir,
        models=[tower.name for tower in towers],
        device=device,
        threads=threads_for(settings.replicas, cores, settings.threads),
        logs_dir=settings.triton_dir / "logs",
        name=pod.replace("/", "-") or "triton",
    )
    return ManagedTritonBackend(
        settings.models_dir,
        towers,
        server,
        timeout_s=timeout_s,
        total_timeout_s=total_timeout_s,
        in_flight=settings.triton_in_flight,
        cpu_batch=settings.embed_batch,
    )


def install_triton(settings: Settings, device: Device, progress: Callable[[str], None] = print) -> Installation:
    """Install the managed Triton if it is missing; takes milliseconds if it is there.

    Raises:
        VisualSearchError: `triton_failed`.
    """
    from executors.triton_server.packages import ensure_packages

    variant = settings.triton_packages
    if variant == "auto":
        variant = "cuda" if device.kind == "gpu" else "cpu"
    return ensure_packages(settings.triton_dir, variant, progress)


def replica_number(pod: str) -> int:
    """The number in a pod's name (`embed/rep-2`), 0 if there is none."""
    found = _REPLICA.search(pod)
    return int(found.group(1)) if found else 0
