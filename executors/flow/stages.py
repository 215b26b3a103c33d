"""Prepares the stages of a flow file before any of them starts: folders, models, GPUs and the managed Triton."""

from __future__ import annotations

import os
from typing import Any, Final

from jina.orchestrate.deployments import Deployment

from executors.devices import VARIABLE, parse_device, requested_devices
from executors.embed.backends import install_triton
from executors.flow.readiness import tell
from executors.index.embedded.disk.file_systems import check_local
from executors.models.build import build_default_model
from executors.models.repository import load_towers
from executors.settings import read_settings, with_flow_backend, with_flow_store
from executors.settings.folders import check_folder

_EMBEDDER: Final = "executors.embed.executor.ImageEmbedder"
_INDEX: Final = "executors.index.executor.IndexShard"


def prepare_stages(data: dict[str, Any]) -> None:
    """Check and prepare everything that the stages need, before any of them starts.

    Pass on the GPUs that the environment names, check the settings of the chosen store, build the default model if it is
    missing, check that the chosen model is there, and install a managed Triton, for which its replicas would wait.

    Args:
        data: the flow file, as loaded and with its variables filled in. The environment of its stages may be changed.

    Raises:
        VisualSearchError: `triton_failed`, `invalid_setting`, and those of `build_model` and `load_towers`.
    """
    for executor in data.get("executors", data.get("deployments")) or []:
        variables = executor.get("env") or {}
        if VARIABLE in variables:
            variables[VARIABLE] = requested_devices(str(variables[VARIABLE]), os.environ.get(VARIABLE))
        if executor.get("uses") == _INDEX:
            chosen = with_flow_store(read_settings(), (executor.get("uses_with") or {}).get("store"))
            if chosen.store == "embedded" and not executor.get("external"):
                check_folder("VS_WORKSPACE", chosen.workspace)
                if chosen.allow_network_fs == "off":
                    check_local(chosen.workspace)
        if executor.get("uses") == _EMBEDDER and not executor.get("external"):
            chosen = with_flow_backend(read_settings(), (executor.get("uses_with") or {}).get("backend"))
            if chosen.embed_backend != "triton":
                build_default_model(chosen, tell)
            load_towers(chosen.models_dir, chosen.model)
            if chosen.embed_backend == "managed-triton":
                assigned = Deployment._roundrobin_cuda_device(variables.get(VARIABLE), 1) or {}
                device = parse_device(str(assigned.get(0, variables.get(VARIABLE, ""))))
                install_triton(chosen, device, tell)
