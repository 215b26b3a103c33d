"""The one place that chooses what runs the model."""

from __future__ import annotations

from executors.cores import available_cores, threads_for
from executors.embed.backend import EmbeddingBackend
from executors.embed.devices import parse_device
from executors.embed.onnx import OnnxBackend
from executors.models.spec import ModelSpec
from executors.settings import Settings


def make_backend(settings: Settings, spec: ModelSpec, visible_devices: str) -> EmbeddingBackend:
    """Make, but not start, the backend that `settings.embed_backend` names.

    Args:
        settings: all settings; what a backend needs of them is handed to it as plain values.
        spec: the model.
        visible_devices: what `CUDA_VISIBLE_DEVICES` gave this replica.

    Raises:
        VisualSearchError: `invalid_setting` when `visible_devices` names no device.
    """
    device = parse_device(visible_devices)
    match settings.embed_backend:
        case "onnx":
            threads = threads_for(settings.replicas, available_cores(), settings.threads)
            return OnnxBackend(settings.models_dir, spec, device, batch=settings.embed_batch, threads=threads)
